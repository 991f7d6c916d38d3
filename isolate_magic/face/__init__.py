"""The notebook surface, in the main session: magics, output, widgets. The extension alone imports it."""

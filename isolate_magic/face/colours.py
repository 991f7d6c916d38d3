"""The colours of what is shown, as CSS (face).

JupyterLab's own where it is there, so that both themes fit; else VS Code's; else ones that both themes bear.
"""

TEXT = "var(--jp-ui-font-color1,var(--vscode-foreground,inherit))"
DIM = "var(--jp-ui-font-color2,var(--vscode-descriptionForeground,#767676))"
LINE = "var(--jp-border-color2,var(--vscode-panel-border,rgba(128,128,128,.35)))"
TRACK = "var(--jp-layout-color3,rgba(128,128,128,.25))"
BLUE = "var(--jp-brand-color1,var(--vscode-charts-blue,#1976d2))"
GREEN = "var(--jp-success-color1,var(--vscode-charts-green,#388e3c))"
ORANGE = "var(--jp-warn-color1,var(--vscode-charts-orange,#f57c00))"
RED = "var(--jp-error-color1,var(--vscode-charts-red,#d32f2f))"

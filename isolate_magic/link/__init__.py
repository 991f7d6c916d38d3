"""What both sides of the channel share: frames, values, proxies, the conversation."""

"""What the page consists of and which event calls which handler"""

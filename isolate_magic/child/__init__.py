"""What runs in the zygote and in the companion."""

"""What a user does with a learngene: timm models that start from one."""

"""Conversations as training text: instructions and chats from files, and the templates that turn them into text."""

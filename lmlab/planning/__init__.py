"""What a training will take and reach, before it begins."""

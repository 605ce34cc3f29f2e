"""What is known of images without asking a registry: their names, the logins for them, their manifests. Pure.

Not here: what a registry answers (`registry/`), which images a build wants (`plan/`), making new ones (`agent/`).
"""

"""What must hold for long or on bad days: `make soak`. The lab is needed, and for most of it nothing else running."""

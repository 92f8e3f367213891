"""What runs found: tables, figures and a page, from the files in their directories."""

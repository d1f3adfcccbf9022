"""The versions of the database, as package data: an installed wheel can migrate."""

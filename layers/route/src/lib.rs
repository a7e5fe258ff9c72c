//! Path patterns and header conditions as a tower layer.

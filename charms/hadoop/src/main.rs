//! The hadoop charm: plan, inspect and recipe in one executable. It must not touch the host outside a recipe.
fn main() {}

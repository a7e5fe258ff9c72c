//! Compares the public API of each package with `api/PACKAGE.txt`, or writes these files: see `api/run.sh`.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [mode, json, files, packages @ ..] = arguments.as_slice() else {
        return Err("expected `check` or `write`, two folders, and the packages".into());
    };
    let mut differs = false;
    for package in packages {
        let json = Path::new(json).join(package.replace('-', "_")).with_extension("json");
        let file = Path::new(files).join(package).with_extension("txt");
        let items = public_items(&json)?;
        if mode == "write" {
            fs::write(&file, items.join("\n") + "\n")?;
            continue;
        }
        let text = fs::read_to_string(&file).unwrap_or_default();
        let before: BTreeSet<&str> = text.lines().collect();
        let after: BTreeSet<&str> = items.iter().map(String::as_str).collect();
        if before == after {
            continue;
        }
        differs = true;
        println!("{} differs from the code:", file.display());
        before.difference(&after).for_each(|item| println!("- {item}"));
        after.difference(&before).for_each(|item| println!("+ {item}"));
    }
    if differs {
        println!("`api/run.sh write` writes the files: commit them if this is what you mean.");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The items of a package, without the implementations that each type has.
fn public_items(json: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .map_err(|error| format!("{}: {error}", json.display()))?;
    let items = api.items().map(ToString::to_string);
    Ok(items.filter(|item| !item.contains("StructuralPartialEq")).collect())
}

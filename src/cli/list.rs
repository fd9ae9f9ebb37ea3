//! `shootdown list`: what there is.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use emu::{Argument, ChooserKind, Costs};
use serde::Serialize;

use super::{print, print_json};
use crate::{Error, Registry};

/// Lists what has a name
#[derive(Args)]
#[command(after_help = "\
Examples:
  shootdown list
  shootdown list fixes
  shootdown list reproducers --json")]
pub(super) struct List {
    /// Only this kind
    kind: Option<Kind>,
    /// One JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Reproducers,
    Kernels,
    Fixes,
    Mutations,
    Rows,
    Flush,
    Machines,
    Choosers,
}

/// One named thing.
#[derive(Serialize)]
struct Entry {
    name: String,
    about: String,
    /// More that scripts may want: parameters, what a fix builds on, what a row stands for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<String>,
}

impl Entry {
    fn new(name: &str, about: &str, details: Vec<String>) -> Entry {
        Entry {
            name: name.to_string(),
            about: about.to_string(),
            details,
        }
    }
}

pub(super) fn list(registry: &Registry, args: &List) -> Result<ExitCode, Error> {
    let kinds: Vec<Kind> = Kind::value_variants()
        .iter()
        .copied()
        .filter(|it| args.kind.is_none_or(|k| k == *it))
        .collect();
    if args.json {
        let all: serde_json::Map<String, serde_json::Value> = kinds
            .iter()
            .map(|kind| (title(*kind), serde_json::json!(entries(registry, *kind))))
            .collect();
        print_json(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for kind in kinds {
        text.push_str(&format!("{}\n", title(kind)));
        let entries = entries(registry, kind);
        let width = entries
            .iter()
            .map(|it| it.name.chars().count())
            .max()
            .unwrap_or(0);
        for entry in &entries {
            text.push_str(&format!("  {:<width$}  {}\n", entry.name, entry.about));
            for detail in &entry.details {
                text.push_str(&format!("  {:<width$}    {detail}\n", ""));
            }
        }
        text.push('\n');
    }
    print(text.trim_end_matches('\n'))?;
    print("\n")?;
    Ok(ExitCode::SUCCESS)
}

fn title(kind: Kind) -> String {
    kind.to_possible_value()
        .map_or_else(String::new, |it| it.get_name().to_string())
}

fn entries(registry: &Registry, kind: Kind) -> Vec<Entry> {
    match kind {
        Kind::Reproducers => reproducers(registry),
        Kind::Kernels => registry
            .kernels
            .iter()
            .map(|it| Entry::new(it.name, it.about, labelled("patches", it.patches)))
            .collect(),
        Kind::Fixes => patches(&registry.fixes),
        Kind::Mutations => patches(registry.mutations),
        Kind::Rows => rows(registry),
        Kind::Flush => registry
            .policies
            .iter()
            .map(|it| Entry::new(it.name(), it.about(), vec![]))
            .collect(),
        Kind::Machines => machines(),
        Kind::Choosers => registry
            .choosers
            .iter()
            .map(|it| Entry::new(it.name, it.about, argument(it)))
            .collect(),
    }
}

fn patches(all: &[&'static dyn os::patch::Patch]) -> Vec<Entry> {
    all.iter()
        .map(|it| Entry::new(it.name(), it.about(), labelled("builds on", it.builds_on())))
        .collect()
}

fn argument(kind: &ChooserKind) -> Vec<String> {
    let usage = |it: Argument| {
        let (open, close) = if it.needed { ("", "") } else { ("[", "]") };
        let range = format!("{} to {}", it.least, it.most);
        format!("{}{open}:{}{close}  ({range})", kind.name, it.name)
    };
    kind.argument.map(usage).into_iter().collect()
}

fn labelled(label: &str, names: &[&str]) -> Vec<String> {
    match names {
        [] => vec![],
        names => vec![format!("{label}: {}", names.join(", "))],
    }
}

fn reproducers(registry: &Registry) -> Vec<Entry> {
    let entry = |it: &&'static dyn workloads::Reproducer| {
        let parameters = it.parameters().iter().map(|it| {
            format!(
                "{}={}  {} ({} to {})",
                it.name, it.default, it.about, it.min, it.max
            )
        });
        Entry::new(it.name(), it.about(), parameters.collect())
    };
    registry.reproducers.iter().map(entry).collect()
}

fn rows(registry: &Registry) -> Vec<Entry> {
    let entry = |row: &os::fixes::Row| {
        let kernel = row.kernel.map(str::to_string);
        let fixes = row.patches.iter().map(|it| it.to_string());
        let set = row
            .set
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let all: Vec<String> = kernel.into_iter().chain(fixes).chain(set).collect();
        Entry::new(row.id, row.about, vec![all.join(" + ")])
    };
    registry.rows.iter().map(entry).collect()
}

fn machines() -> Vec<Entry> {
    let entry = |costs: Costs| {
        let about = format!(
            "{:.2} GHz, {} CPUs a socket",
            costs.hz as f64 / 1e9,
            costs.cpus_per_socket
        );
        Entry::new(&costs.name, &about, vec![])
    };
    Costs::preset_names()
        .iter()
        .filter_map(|name| Costs::preset(name))
        .map(entry)
        .collect()
}

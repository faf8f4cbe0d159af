//! The report: rows with their targets and controls, as JSON and as a table.
//!
//! Owns the verdict. Promises that a row which could not be measured is in the report, with why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::machine::Machine;

/// The target of a row: which direction is good, and the limit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Reach {
    /// The value must be at most this.
    AtMost(f64),
    /// The value must be at least this.
    AtLeast(f64),
    /// The row has no target.
    Open,
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// Name of the group, as `--only` takes it.
    pub(super) row: &'static str,
    pub(super) what: String,
    pub(super) value: Option<f64>,
    pub(super) unit: &'static str,
    pub(super) reach: Option<f64>,
    pub(super) reach_text: String,
    pub(super) verdict: String,
    /// Control that `value` is a ratio of, or is compared with.
    pub(super) control: String,
    /// All figures that were measured for the row.
    pub(super) figures: BTreeMap<&'static str, f64>,
}

impl Row {
    /// Makes a row of a measured value.
    pub(super) fn new(row: &'static str, what: impl Into<String>, value: f64, unit: &'static str) -> Row {
        Row {
            row,
            what: what.into(),
            value: Some(value),
            unit,
            reach: None,
            reach_text: "–".into(),
            verdict: "no target".into(),
            control: "–".into(),
            figures: BTreeMap::new(),
        }
    }

    /// Makes a row of a measurement that failed.
    pub(super) fn missing(row: &'static str, what: impl Into<String>, why: impl Into<String>) -> Row {
        Row { value: None, verdict: why.into(), ..Row::new(row, what, 0.0, "") }
    }

    /// Adds a target; `text` is its wording in the table.
    pub(super) fn reach(mut self, reach: Reach, text: impl Into<String>) -> Row {
        self.reach_text = text.into();
        let Some(value) = self.value else { return self };
        let (target, factor) = match reach {
            Reach::Open => return self,
            Reach::AtMost(most) => (most, value / most),
            Reach::AtLeast(least) => (least, least / value),
        };
        self.reach = Some(target);
        self.verdict = match factor {
            factor if factor <= 1.0 => "reached".into(),
            factor if factor.is_finite() => format!("short by {factor:.2} ×"),
            _ => "not reached".into(),
        };
        self
    }

    /// Adds the control that the value is measured against.
    pub(super) fn control(mut self, control: impl Into<String>) -> Row {
        self.control = control.into();
        self
    }

    /// Adds a figure that the value was computed from.
    pub(super) fn figure(mut self, name: &'static str, value: f64) -> Row {
        self.figures.insert(name, value);
        self
    }

    fn measured(&self) -> String {
        self.value.map_or_else(|| "–".into(), |value| format!("{} {}", plain(value), self.unit).trim_end().to_owned())
    }
}

/// Formats a value with three significant digits.
fn plain(value: f64) -> String {
    match value.abs() {
        size if size >= 10_000.0 => format!("{:.0}k", value / 1000.0),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The report of one run of the bench.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) quick: bool,
    pub(super) took_s: f64,
    pub(super) machine: Machine,
    pub(super) rows: Vec<Row>,
}

impl Report {
    /// Renders the report as a table for people.
    pub(super) fn table(&self) -> String {
        let machine = &self.machine;
        let mut out = String::new();
        let _ = writeln!(
            out,
            "forebay bench: {} cores, Linux {}, fdatasync of 4 KiB p50 {:.3} ms p99 {:.3} ms, durability {}, {} build, revision {}, load {} at start, {:.0} s{}\n",
            machine.cores,
            machine.kernel,
            machine.fdatasync_4k_p50_ms,
            machine.fdatasync_4k_p99_ms,
            machine.durability,
            machine.build,
            machine.revision,
            machine.load_1m_at_start,
            self.took_s,
            if self.quick { ", quick: expect noise" } else { "" },
        );
        let head = ["row", "what", "measured", "reach", "verdict", "control"].map(str::to_owned);
        let rows = self.rows.iter().map(|row| {
            let text = [row.row, &row.what, &row.measured(), &row.reach_text, &row.verdict, &row.control];
            text.map(|text| text.replace(['|', '\n'], " "))
        });
        let rows: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..6).map(width).collect();
        for (index, row) in rows.iter().enumerate() {
            for (text, width) in row.iter().zip(&widths) {
                let _ = write!(out, "| {text:<width$} ");
            }
            out.push_str("|\n");
            if index == 0 {
                for width in &widths {
                    let _ = write!(out, "|{}", "-".repeat(width + 2));
                }
                out.push_str("|\n");
            }
        }
        out
    }

    /// Writes `bench.json` and `bench.md` into `dir`.
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self).context("a report is plain data")?;
        for (name, text) in [("bench.json", json), ("bench.md", self.table())] {
            let path = dir.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_knows_which_way_is_good() {
        let verdict = |value, reach| Row::new("x", "x", value, "s").reach(reach, "x").verdict;
        assert_eq!(verdict(2.0, Reach::AtMost(2.0)), "reached");
        assert_eq!(verdict(3.0, Reach::AtMost(2.0)), "short by 1.50 ×");
        assert_eq!(verdict(300.0, Reach::AtLeast(300.0)), "reached");
        assert_eq!(verdict(150.0, Reach::AtLeast(300.0)), "short by 2.00 ×");
        assert_eq!(verdict(0.0, Reach::AtLeast(300.0)), "not reached");
        assert_eq!(verdict(9.0, Reach::Open), "no target");
        assert_eq!(Row::missing("x", "x", "no disk").reach(Reach::AtMost(1.0), "1").verdict, "no disk");
    }
}

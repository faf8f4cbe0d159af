//! How a job is printed on a terminal.
//!
//! Owns how records become text. Promises that only the answer goes to stdout, that it is flushed as
//! it comes, and that a model cannot send control sequences to a terminal.

use std::io::{IsTerminal, Write, stderr, stdout};

use crate::job::{Completed, Cost, Event, Output, OutputBody, Part, QueueReason, Queued, Record, ToolCall, Usage};
use crate::wire::record::RecordRef;

/// Prints one line to stdout.
pub(super) fn stdout_line(text: &str) -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints one line to stderr. If stderr is closed too, the line is dropped.
pub(super) fn stderr_line(text: &str) {
    let _ = writeln!(stderr().lock(), "{text}");
}

/// Prints a table. Columns are as wide as their widest cell; numbers are aligned to the right.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> std::io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(tabulate(heads, rows).as_bytes())?;
    out.flush()
}

fn tabulate(heads: &[&str], rows: &[Vec<String>]) -> String {
    let is_number = |text: &String| text.parse::<f64>().is_ok() || text == "-";
    let column = |at: usize| rows.iter().filter_map(move |row| row.get(at));
    let width = |(at, head): (usize, &&str)| {
        column(at).map(|cell| cell.chars().count()).chain([head.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = heads.iter().enumerate().map(width).collect();
    let stands_right: Vec<bool> =
        (0..heads.len()).map(|at| column(at).next().is_some() && column(at).all(is_number)).collect();
    let mut text = String::new();
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    for row in std::iter::once(&heads).chain(rows) {
        let cells = row.iter().enumerate().map(|(at, cell)| match (widths[at], stands_right[at]) {
            (width, true) => format!("{cell:>width$}"),
            (width, false) => format!("{cell:<width$}"),
        });
        text.push_str(plain(cells.collect::<Vec<_>>().join("  ").trim_end()).as_str());
        text.push('\n');
    }
    text
}

/// Removes control characters except tab and line feed: they could move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// Prints a job's records: its text to stdout, what else happens to stderr; or all as JSON lines.
pub(super) struct Printer {
    as_json: bool,
    is_terminal: bool,
    id: String,
    /// Whether text stands on an unfinished line.
    is_mid_line: bool,
    tools: Vec<ToolCall>,
    /// The first write that failed; nothing is written after it.
    failed: Option<std::io::Error>,
}

impl Printer {
    pub(super) fn new(as_json: bool) -> Printer {
        let is_terminal = stdout().is_terminal();
        Printer { as_json, is_terminal, id: String::new(), is_mid_line: false, tools: Vec::new(), failed: None }
    }

    /// The job's id, for the summary.
    pub(super) fn id(&mut self, id: &str) {
        id.clone_into(&mut self.id);
    }

    /// Prints one record of the job.
    pub(super) fn record(&mut self, record: &Record) {
        if self.as_json {
            let mut bytes = Vec::new();
            RecordRef::from(record.clone()).write_json(&mut bytes);
            bytes.push(b'\n');
            self.write(&bytes);
            return;
        }
        match &record.event {
            Event::Delta(delta) if delta.part == Part::Text || delta.part == Part::Refusal => self.text(&delta.text),
            Event::ToolCall(call) => self.tool(call),
            Event::Output(output) => self.output(output),
            Event::Queued(queued) => self.waits(queued),
            Event::Lost(lost) => self.note(&format!("attempt {} lost: {}", lost.attempt, lost.error)),
            Event::Restarted(_) => self.note("the answer begins anew; what stands above is void"),
            Event::Completed(end) => self.completed(end),
            Event::Failed(end) => self.ended(&format!("failed: {}", end.error), &end.usage, end.cost),
            Event::Cancelled(end) => self.ended(&format!("cancelled by {}", end.by), &end.usage, end.cost),
            Event::Interrupted(end) => {
                self.ended("interrupted: the broker died and could not go on", &end.usage, end.cost);
            }
            Event::Accepted(_) | Event::Attempt(_) | Event::Delta(_) | Event::Progress(_) => {}
        }
    }

    fn waits(&mut self, queued: &Queued) {
        let reason = match queued.reason {
            QueueReason::RateLimited => "every target is at its limit",
            QueueReason::Cooling => "every target cools down",
            QueueReason::Capacity => "every target is busy",
        };
        let ahead = queued.position.filter(|jobs| *jobs > 0).map(|jobs| format!(", {jobs} before it"));
        let eta = queued.eta_ms.map(|ms| format!(", about {} s", ms.div_ceil(1000)));
        self.note(&format!("waits: {reason}{}{}", ahead.unwrap_or_default(), eta.unwrap_or_default()));
    }

    /// Ends the last line of output.
    ///
    /// # Errors
    /// The first write to stdout that failed.
    pub(super) fn finish(&mut self) -> std::io::Result<()> {
        self.end_line();
        self.failed.take().map_or(Ok(()), Err)
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            let mut out = stdout().lock();
            self.failed = out.write_all(bytes).and_then(|()| out.flush()).err();
        }
    }

    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let shown = if self.is_terminal { plain(text) } else { text.to_owned() };
        self.write(shown.as_bytes());
        self.is_mid_line = !text.ends_with('\n');
    }

    /// Pieces of one call are put together; it is shown at the end.
    fn tool(&mut self, piece: &ToolCall) {
        match self.tools.iter_mut().find(|call| call.index == piece.index) {
            Some(call) => {
                call.arguments.push_str(&piece.arguments);
                call.name = call.name.take().or_else(|| piece.name.clone());
            }
            None => self.tools.push(piece.clone()),
        }
    }

    fn output(&mut self, output: &Output) {
        let shown = match &output.body {
            OutputBody::Value(value) => value.to_string(),
            OutputBody::Data(blob) => format!("[{} bytes of {}; --json has them]", blob.0.len(), output.mime),
            OutputBody::Url(url) => format!("[{} at {url}]", output.mime),
        };
        self.end_line();
        self.text(&format!("{shown}\n"));
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.is_mid_line) && !self.as_json {
            self.write(b"\n");
        }
    }

    fn note(&mut self, text: &str) {
        self.end_line();
        self.tools.clear();
        stderr_line(&plain(&format!("[{text}]")));
    }

    fn completed(&mut self, end: &Completed) {
        self.end_line();
        for call in std::mem::take(&mut self.tools) {
            self.text(&format!("{}({})\n", call.name.as_deref().unwrap_or("?"), call.arguments));
        }
        let mut summary = format!("completed ({})", end.finish_reason);
        if end.attempts > 1 {
            summary += &format!(", {} attempts", end.attempts);
        }
        if let Some(ms) = end.timing.first_output_ms {
            summary += &format!(", first output after {ms} ms");
        }
        summary += &format!(", {} ms in all", end.timing.total_ms);
        self.ended(&summary, &end.usage, end.cost);
    }

    fn ended(&mut self, summary: &str, usage: &Usage, cost: Cost) {
        self.end_line();
        let id = if self.id.is_empty() { String::new() } else { format!(", job {}", self.id) };
        stderr_line(&plain(&format!("[{summary}, {}, {}{id}]", tokens(usage), money(cost))));
    }
}

fn tokens(usage: &Usage) -> String {
    let count = |count: Option<u64>| count.map_or("?".to_owned(), |count| count.to_string());
    let estimate = if usage.source == crate::job::UsageSource::Estimate { ", estimated" } else { "" };
    format!("{} tokens in, {} out{estimate}", count(usage.input_tokens), count(usage.output_tokens))
}

fn money(cost: Cost) -> String {
    match (cost.priced, cost.usd == crate::job::Usd::ZERO) {
        (true, _) => format!("${}", cost.usd),
        (false, true) => "price unknown".to_owned(),
        (false, false) => format!("${} and more: not every price is known", cost.usd),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_columns() {
        let rows = [vec!["AI".into(), "1.204".into()], vec!["-".into(), "10".into()]];
        assert_eq!(tabulate(&["teamId", "usd"], &rows), "teamId    usd\nAI      1.204\n-          10\n");
        assert_eq!(tabulate(&["a"], &[]), "a\n");
    }

    #[test]
    fn control_sequences_do_not_reach_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\u{9b}1m\tc\r\n"), "a[2Jb1m\tc\n");
    }

    #[test]
    fn an_unknown_price_is_said() {
        let cost = |usd: &str, priced| money(Cost { usd: usd.parse().unwrap(), priced });
        assert_eq!(cost("0.004213", true), "$0.004213");
        assert_eq!(cost("0", true), "$0");
        assert_eq!(cost("0", false), "price unknown");
        assert_eq!(cost("0.1", false), "$0.1 and more: not every price is known");
    }
}

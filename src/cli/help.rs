//! `forebay help`: what there is to type and to read, a command's help, or a guide.

use clap::CommandFactory;

use super::args::Arguments;
use super::{CommandError, show};
use crate::guide::{self, Guide};

/// Columns of the list of guides.
const WIDTH: usize = 100;

/// `forebay help [TOPIC]`: a topic is a command, a guide, or both.
pub(super) fn run(topic: &[String]) -> Result<(), CommandError> {
    if topic.is_empty() {
        let help = Arguments::command().render_long_help().to_string();
        return Ok(show::stdout_line(&format!("{}\n\n{}", help.trim_end(), list()))?);
    }
    let of_command = command_help(topic);
    let guide = Guide::find(&topic.join("-"));
    match (of_command, guide) {
        (None, None) => Err(CommandError::Usage(unknown(&topic.join(" ")))),
        (command, guide) => {
            let texts: Vec<&str> = command.as_deref().into_iter().chain(guide.map(|guide| guide.text)).collect();
            Ok(show::stdout_line(texts.iter().map(|text| text.trim_end()).collect::<Vec<_>>().join("\n\n").as_str())?)
        }
    }
}

/// The help of a command, which `names` lead to: `["key", "new"]`.
fn command_help(names: &[String]) -> Option<String> {
    let mut all = Arguments::command();
    all.build();
    let mut command = &mut all;
    for name in names {
        command = command.find_subcommand_mut(name)?;
    }
    Some(command.render_long_help().to_string())
}

/// The guides with their titles and what they are for.
fn list() -> String {
    let name_width = guide::ALL.iter().map(|guide| guide.name.len()).max().unwrap_or(0);
    let mut text = "Guides (`forebay help TOPIC` prints one):".to_owned();
    for guide in guide::ALL {
        let about = format!("{}: {}", guide.title(), guide.summary());
        let mut lines = wrapped(&about, WIDTH - name_width - 4).into_iter();
        let first = lines.next().unwrap_or_default();
        text.push_str(&format!("\n  {:<name_width$}  {first}", guide.name));
        for line in lines {
            text.push_str(&format!("\n  {:<name_width$}  {line}", ""));
        }
    }
    text
}

/// `text` in lines of at most `width` characters, as far as its words allow.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// What to say about a topic that is neither a command nor a guide.
fn unknown(topic: &str) -> String {
    let near = Guide::near(topic);
    let advice =
        if near.is_empty() { "`forebay help` lists them".to_owned() } else { format!("near it: {}", near.join(", ")) };
    format!("there is neither a command nor a guide `{topic}`; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_and_none_is_lost() {
        assert_eq!(wrapped("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrapped("longer-than-that x", 4), ["longer-than-that", "x"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}

//! Files as Converse's blocks.

use crate::provider::chat::{Source, quoted};

/// Images that Converse takes.
const IMAGES: &[(&str, &str)] = &[
    ("image/png", "png"),
    ("image/jpeg", "jpeg"),
    ("image/jpg", "jpeg"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
];
/// Documents that Converse takes.
const DOCUMENTS: &[(&str, &str)] = &[
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("text/html", "html"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
];
/// Videos that Converse takes.
const VIDEOS: &[(&str, &str)] = &[
    ("video/mp4", "mp4"),
    ("video/quicktime", "mov"),
    ("video/x-matroska", "mkv"),
    ("video/webm", "webm"),
    ("video/x-flv", "flv"),
    ("video/mpeg", "mpeg"),
    ("video/x-ms-wmv", "wmv"),
    ("video/3gpp", "three_gp"),
];
/// Bytes of a document's name that Converse takes.
const NAME_BYTES_MAX: usize = 200;

/// Names of documents in one request: Converse wants each to be another.
#[derive(Default)]
pub(super) struct Names(Vec<String>);

/// An image; none if Converse does not take it. An address is not fetched by Converse, except from
/// S3, where the kind is in the name.
pub(super) fn image(source: &Source<'_>) -> Option<String> {
    let (format, source) = placed(source, IMAGES)?;
    Some(format!(r#"{{"image":{{"format":"{format}","source":{source}}}}}"#))
}

/// A document, an image or a video; none if Converse does not take it.
pub(super) fn file(source: &Source<'_>, filename: Option<&str>, names: &mut Names) -> Option<String> {
    if let Some(image) = image(source) {
        return Some(image);
    }
    if let Some((format, source)) = placed(source, VIDEOS) {
        return Some(format!(r#"{{"video":{{"format":"{format}","source":{source}}}}}"#));
    }
    let (format, source) = placed(source, DOCUMENTS)?;
    let name = names.take(filename.unwrap_or("document"), format);
    Some(format!(r#"{{"document":{{"format":"{format}","name":{},"source":{source}}}}}"#, quoted(&name)))
}

fn placed(source: &Source<'_>, formats: &[(&str, &'static str)]) -> Option<(&'static str, String)> {
    match source {
        Source::Data { mime, base64 } => {
            let (_, format) = formats.iter().find(|(known, _)| mime.eq_ignore_ascii_case(known))?;
            Some((format, format!(r#"{{"bytes":{}}}"#, quoted(base64))))
        }
        Source::Url(url) if url.starts_with("s3://") => {
            let ending = url.rsplit_once('.')?.1.to_ascii_lowercase();
            let ending = if ending == "jpg" { "jpeg" } else { &ending };
            let (_, format) = formats.iter().find(|(_, format)| *format == ending)?;
            Some((format, format!(r#"{{"s3Location":{{"uri":{}}}}}"#, quoted(url))))
        }
        Source::Url(_) | Source::Id(_) => None,
    }
}

impl Names {
    /// A name without its ending, of the characters that Converse takes, and not yet taken.
    fn take(&mut self, filename: &str, format: &str) -> String {
        let stem = match filename.rsplit_once('.') {
            Some((stem, ending)) if ending.eq_ignore_ascii_case(format) => stem,
            _ => filename,
        };
        let mut name = String::with_capacity(stem.len().min(NAME_BYTES_MAX));
        for c in stem.chars().take(NAME_BYTES_MAX) {
            let c = if c.is_ascii_alphanumeric() || "-()[] ".contains(c) { c } else { '-' };
            if !(c == ' ' && name.ends_with(' ')) {
                name.push(c);
            }
        }
        let name = match name.trim() {
            "" => "document".to_owned(),
            name => name.to_owned(),
        };
        let mut own = name.clone();
        let mut number = 2;
        while self.0.contains(&own) {
            own = format!("{name} {number}");
            number += 1;
        }
        self.0.push(own.clone());
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_a_name_that_converse_takes() {
        let mut names = Names::default();
        for (filename, expected) in [
            ("Report.pdf", "Report"),
            ("Report.pdf", "Report 2"),
            ("Report.v2", "Report-v2"),
            ("a  b_c\u{e4}.PDF", "a b-c-"),
            ("", "document"),
            (".pdf", "document 2"),
        ] {
            assert_eq!(names.take(filename, "pdf"), expected);
        }
    }
}

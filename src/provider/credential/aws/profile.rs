//! The files of AWS's own tools: `~/.aws/credentials` and `~/.aws/config`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Env, Keys};

/// Bytes of one file that are read: people's are a few kilobytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Ways to get credentials that need a call to another service, which is not made here.
const OTHER_WAYS: &[&str] =
    &["role_arn", "sso_session", "sso_start_url", "credential_process", "web_identity_token_file"];

/// Where a profile's files are, and its name.
#[derive(Clone, Debug)]
pub struct Files {
    name: Box<str>,
    credentials: Option<PathBuf>,
    config: Option<PathBuf>,
}

/// What the files say of a profile.
#[derive(Debug, Default)]
pub struct Profile {
    /// Its keys, if it has any.
    pub keys: Option<Keys>,
    /// Region that the profile names.
    pub region: Option<Box<str>>,
}

impl Files {
    /// The files of `profile`, else of `AWS_PROFILE`, else of `default`.
    #[must_use]
    pub fn of(profile: Option<&str>, env: Env<'_>) -> Files {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let home = set("HOME").or_else(|| set("USERPROFILE")).map(PathBuf::from);
        let place = |variable: &str, name: &str| {
            set(variable).map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".aws").join(name)))
        };
        let name = profile.map(str::to_owned).or_else(|| set("AWS_PROFILE")).unwrap_or_else(|| "default".to_owned());
        Files {
            name: name.into(),
            credentials: place("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            config: place("AWS_CONFIG_FILE", "config"),
        }
    }

    /// Returns the name of the profile.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the files say now. The credentials' file counts before the other.
    ///
    /// # Errors
    /// What is wrong, without a secret.
    pub fn read(&self) -> Result<Profile, String> {
        // In the second file all profiles but the default one say so in their heading.
        let heading = format!("profile {}", self.name);
        let mut fields = section(self.config.as_deref(), &[&heading, &self.name])?;
        fields.extend(section(self.credentials.as_deref(), &[&self.name])?);
        let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_empty());
        let region = take("region").map(Into::into);
        let keys = match (take("aws_access_key_id"), take("aws_secret_access_key")) {
            (Some(access_key_id), Some(secret_access_key)) => {
                let session_token = take("aws_session_token");
                Some(Keys { access_key_id, secret_access_key, session_token, expires: None })
            }
            (None, None) => None,
            _ => return Err(format!("the profile {} has only one half of a key", self.name)),
        };
        if keys.is_none()
            && let Some(way) = OTHER_WAYS.iter().find(|way| fields.contains_key(**way))
        {
            return Err(format!("the profile {} gets its keys by {way}, which is not supported", self.name));
        }
        Ok(Profile { keys, region })
    }
}

/// The fields under any of these headings; a file that is not there has none.
fn section(path: Option<&Path>, headings: &[&str]) -> Result<BTreeMap<String, String>, String> {
    let Some(path) = path else { return Ok(BTreeMap::new()) };
    let is_long = std::fs::metadata(path).is_ok_and(|file| file.len() > FILE_BYTES_MAX);
    if is_long {
        return Err(format!("{}: is over {FILE_BYTES_MAX} bytes", path.display()));
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text, headings)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// AWS's dialect of INI: comments are lines of their own or follow a blank, and an indented line
/// belongs to the field above it (`s3 =` and what it nests), which is not read here.
fn parse(text: &str, headings: &[&str]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut is_ours = false;
    for line in text.trim_start_matches('\u{feff}').lines() {
        let is_nested = line.starts_with([' ', '\t']);
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = bare.strip_prefix('[') {
            let name = rest.split(']').next().unwrap_or("");
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            let name = name.replace(['"', '\''], "");
            is_ours = headings.contains(&name.as_str());
            continue;
        }
        if let Some((name, value)) = bare.split_once('=').filter(|_| is_ours && !is_nested) {
            let end = [" #", " ;", "\t#", "\t;"].iter().filter_map(|mark| value.find(mark)).min();
            let value = &value[..end.unwrap_or(value.len())];
            fields.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_what_stands_under_its_heading() {
        let text = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=b=c ; old\n\n[ profile  \"blue\" ]\n\
                    region=eu-west-1\ns3 =\n  region = nested\n[other]\nregion = x\n";
        let keys = |headings: &[&str]| parse(text, headings).into_iter().collect::<Vec<_>>();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(keys(&["default"]), [pair("aws_access_key_id", "A"), pair("aws_secret_access_key", "b=c")]);
        assert_eq!(keys(&["profile blue"]), [pair("region", "eu-west-1"), pair("s3", "")]);
        assert_eq!(keys(&["nobody"]), []);
    }
}

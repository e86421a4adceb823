//! Lines.

use std::sync::Arc;

use clap::Subcommand;
use schema::secret::{self, Ha1Set, Password};
use schema::{Change, Directory, Line, Rights};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Office, OperationError, Reply, device, site, unknown};

/// What can be done with lines.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LineOperation {
    /// Add a line; its password is made for it, and shown once, unless --password-stdin gives one
    Add {
        /// Code or domain of its site
        #[arg(long)]
        site: String,
        /// What is dialled inside the site
        #[arg(long)]
        extension: String,
        /// User name that its phone authenticates with [default: the domain's first label, a hyphen, the extension]
        #[arg(long)]
        auth_user: Option<String>,
        /// What the called party's display shows
        #[arg(long, default_value = "")]
        name: String,
        /// Read the password from standard input
        #[arg(long)]
        #[serde(skip)]
        password_stdin: bool,
        /// Filled in by the command line from standard input.
        #[arg(skip)]
        password: Option<String>,
        /// Let its phone register from outside the site's prefix
        #[arg(long)]
        anywhere: bool,
        /// Only calls inside the platform
        #[arg(long)]
        internal_only: bool,
        /// Calls to other countries too
        #[arg(long, conflicts_with = "internal_only")]
        international: bool,
    },
    /// List lines
    List {
        /// Only those of this site (code or domain)
        #[arg(long)]
        site: Option<String>,
    },
    /// Show one line, with its numbers and where it was last tried from outside its site
    Show {
        /// Its authentication user name
        line: String,
    },
    /// Remove a line that has no numbers
    Remove {
        /// Its authentication user name
        line: String,
    },
}

impl LineOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        match self {
            LineOperation::Add {
                site,
                extension,
                auth_user,
                name,
                password_stdin: _,
                password,
                anywhere,
                internal_only,
                international,
            } => {
                let site = site::find(&office.directory, &site)?;
                let label = site.domain.split('.').next().unwrap_or_default();
                let auth_user = auth_user.unwrap_or_else(|| format!("{label}-{extension}"));
                let made = password.is_none();
                let password = match password {
                    Some(password) => Password::new(password),
                    None => secret::generate_password()?,
                };
                let ha1 = Ha1Set::of(&auth_user, &office.realm, &password);
                let sealed = office.key_file.seal(&auth_user, &password)?;
                let mut line = Line::new(site.id, &extension, &auth_user, ha1, sealed)?;
                line.display_name = name;
                line.anywhere = anywhere;
                line.rights = Rights { external: !internal_only, international };
                line.check()?;
                let Change::PutLine(line) = office.write(Change::PutLine(line)).await? else {
                    return Err(OperationError::NoRow);
                };
                let mut message = format!("added line {auth_user} (sip:{extension}@{})", site.domain);
                let mut item = shown(&line, &office.directory);
                if made {
                    message.push_str(&format!("\npassword {}  (shown only this once)", password.reveal()));
                    item["password"] = json!(password.reveal());
                }
                device::warn(&office.directory, &site, &mut message, &mut item);
                Ok(Reply::Done { message, item })
            }
            LineOperation::List { site } => {
                let site = site.map(|key| site::find(&office.directory, &key)).transpose()?;
                let mut lines = office.directory.lines();
                lines.retain(|line| site.as_ref().is_none_or(|site| site.id == line.site));
                lines.sort_by(|one, two| (one.site.0, &one.extension).cmp(&(two.site.0, &two.extension)));
                let rows = lines.iter().map(|line| shown(line, &office.directory)).collect();
                let columns = [
                    ("LINE", "auth_user"),
                    ("ADDRESS", "address"),
                    ("NAME", "display_name"),
                    ("NUMBERS", "numbers"),
                ];
                Ok(Reply::rows(&columns, rows))
            }
            LineOperation::Show { line } => {
                let line = find(&office.directory, &line)?;
                let mut row = shown(&line, &office.directory);
                // Where its credentials were refused last, because that is outside its site.
                row["seen_outside"] = json!(
                    office
                        .directory
                        .sighting(line.id)
                        .map(|seen| json!({ "source": seen.source, "seen_at": seen.seen_at }))
                );
                Ok(Reply::Item(row))
            }
            LineOperation::Remove { line } => {
                let line = find(&office.directory, &line)?;
                office.write(Change::RemoveLine(line.id)).await?;
                Ok(Reply::Done { message: format!("removed line {}", line.auth_user), item: json!(*line) })
            }
        }
    }

    /// Where to put a password that the user gives on standard input, when the user asked for that.
    pub(super) fn wanted_password(&mut self) -> Option<&mut Option<String>> {
        match self {
            LineOperation::Add { password_stdin: true, password, .. } => Some(password),
            _ => None,
        }
    }
}

/// The line that a user means by its authentication user name.
pub(super) fn find(directory: &Directory, key: &str) -> Result<Arc<Line>, OperationError> {
    directory.line_by_auth_user(key).ok_or_else(|| unknown("line", key))
}

fn shown(line: &Line, directory: &Directory) -> Value {
    let domain = directory.site(line.site).map_or_else(|| "?".to_owned(), |site| site.domain.clone());
    let numbers = directory.numbers_of_line(line.id);
    let mut row = json!(line);
    row["address"] = json!(format!("sip:{}@{domain}", line.extension));
    row["numbers"] = numbers.iter().map(|number| json!(number.e164)).collect();
    row
}

//! Numbers.

use clap::Subcommand;
use schema::{Change, Directory, Number};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Office, OperationError, Reply, line, unknown};

/// What can be done with numbers.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NumberOperation {
    /// Add a number
    Add {
        /// In E.164 form, like +81312345678
        number: String,
        /// Authentication user name of the line that it rings
        #[arg(long)]
        line: String,
        /// Take it from the line that it rings now
        #[arg(long = "move")]
        #[serde(default)]
        take: bool,
    },
    /// List all numbers
    List,
    /// Show one number
    Show {
        /// In E.164 form
        number: String,
    },
    /// Remove a number
    Remove {
        /// In E.164 form
        number: String,
    },
}

impl NumberOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        let directory = &office.directory;
        let find = |key: &str| directory.number(key).ok_or_else(|| unknown("number", key));
        match self {
            NumberOperation::Add { number, line, take } => {
                let line = line::find(directory, &line)?;
                let number = Number::new(&number, line.id)?;
                if let Some(owner) =
                    directory.line_of_number(&number.e164).filter(|owner| owner.id != line.id && !take)
                {
                    return Err(OperationError::NumberTaken {
                        number: number.e164,
                        line: owner.auth_user.clone(),
                    });
                }
                office.write(Change::PutNumber(number.clone())).await?;
                let message = format!("added number {} for line {}", number.e164, line.auth_user);
                Ok(Reply::Done { message, item: shown(&number, directory) })
            }
            NumberOperation::List => {
                let mut numbers = directory.numbers();
                numbers.sort_by(|one, two| one.e164.cmp(&two.e164));
                let rows = numbers.iter().map(|number| shown(number, directory)).collect();
                Ok(Reply::rows(&[("NUMBER", "e164"), ("LINE", "auth_user")], rows))
            }
            NumberOperation::Show { number } => Ok(Reply::Item(shown(&*find(&number)?, directory))),
            NumberOperation::Remove { number } => {
                let number = find(&number)?;
                let item = shown(&number, directory);
                office.write(Change::RemoveNumber(number.e164.clone())).await?;
                Ok(Reply::Done { message: format!("removed number {}", number.e164), item })
            }
        }
    }
}

fn shown(number: &Number, directory: &Directory) -> Value {
    let mut row = json!(number);
    row["auth_user"] = json!(directory.line(number.line).map(|line| line.auth_user.clone()));
    row
}

//! Tunnel accounts: what the sites' IADs log in with.

use std::net::Ipv6Addr;
use std::sync::Arc;

use clap::Subcommand;
use schema::secret::{self, Password};
use schema::{Account, Change, Directory, TunnelLink};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Office, OperationError, Reply, site, unknown};

/// What can be done with tunnel accounts.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccountOperation {
    /// Add a site's account; its password is made for it, and shown once, unless --password-stdin gives one
    Add {
        /// Code or domain of the site whose prefix the tunnel carries
        #[arg(long)]
        site: String,
        /// Name that the IAD logs in with [default: the domain's first label]
        #[arg(long)]
        name: Option<String>,
        /// The IAD's address on a numbered tunnel link; most IADs need none
        #[arg(long, value_name = "ADDRESS", requires = "link_server")]
        link_client: Option<Ipv6Addr>,
        /// The platform's address on that link
        #[arg(long, value_name = "ADDRESS", requires = "link_client")]
        link_server: Option<Ipv6Addr>,
        /// Read the password from standard input
        #[arg(long)]
        #[serde(skip)]
        password_stdin: bool,
        /// Filled in by the command line from standard input.
        #[arg(skip)]
        password: Option<String>,
    },
    /// List accounts with what the broker last saw of them
    List,
    /// Show one account with its lease: what the broker last saw of it
    Show {
        /// Its name
        account: String,
    },
    /// Set an account's password anew: made for it, and shown once, unless --password-stdin gives one. A live tunnel goes down until the
    /// IAD logs in with it
    Password {
        /// Its name
        account: String,
        /// Read the password from standard input
        #[arg(long)]
        #[serde(skip)]
        password_stdin: bool,
        /// Filled in by the command line from standard input.
        #[arg(skip)]
        password: Option<String>,
    },
    /// Cut an account's tunnel and refuse its logins from now on
    Bar {
        /// Its name
        account: String,
    },
    /// Let a barred account log in again
    Unbar {
        /// Its name
        account: String,
    },
    /// Remove an account, and cut its tunnel
    Remove {
        /// Its name
        account: String,
    },
}

impl AccountOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        match self {
            AccountOperation::Add { site, name, link_client, link_server, password_stdin: _, password } => {
                let link = link_client.zip(link_server).map(|(client, server)| TunnelLink { client, server });
                add(office, &site, name, link, password).await
            }
            AccountOperation::List => {
                let accounts = office.directory.accounts();
                let rows = accounts.iter().map(|account| shown(account, &office.directory)).collect();
                let columns = [
                    ("ACCOUNT", "name"),
                    ("SITE", "site_code"),
                    ("PREFIX", "prefix"),
                    ("TUNNEL", "tunnel"),
                    ("IAD", "client"),
                    ("BARRED", "barred"),
                ];
                Ok(Reply::rows(&columns, rows))
            }
            AccountOperation::Show { account } => {
                let account = find(&office.directory, &account)?;
                let mut row = shown(&account, &office.directory);
                row["lease"] = json!(office.directory.lease(account.id));
                Ok(Reply::Item(row))
            }
            AccountOperation::Password { account, password_stdin: _, password } => {
                let account = find(&office.directory, &account)?;
                let (password, made) = given_or_made(password)?;
                let sealed_password = Account::seal(&account.name, &office.key_file, &password)?;
                let account = put(office, Account { sealed_password, ..Account::clone(&account) }).await?;
                let mut message =
                    format!("account {} has a new password: its IAD gets in with that alone", account.name);
                let mut item = shown(&account, &office.directory);
                if made {
                    tell(&password, &mut message, &mut item);
                }
                Ok(Reply::Done { message, item })
            }
            AccountOperation::Bar { account } => set_barred(office, &account, true).await,
            AccountOperation::Unbar { account } => set_barred(office, &account, false).await,
            AccountOperation::Remove { account } => {
                let account = find(&office.directory, &account)?;
                let item = shown(&account, &office.directory);
                office.write(Change::RemoveAccount(account.id)).await?;
                Ok(Reply::Done { message: format!("removed account {}", account.name), item })
            }
        }
    }

    /// Where to put a password that the user gives on standard input, when the user asked for that.
    pub(super) fn wanted_password(&mut self) -> Option<&mut Option<String>> {
        match self {
            AccountOperation::Add { password_stdin: true, password, .. }
            | AccountOperation::Password { password_stdin: true, password, .. } => Some(password),
            _ => None,
        }
    }
}

/// The account that a user means by its name.
pub(super) fn find(directory: &Directory, key: &str) -> Result<Arc<Account>, OperationError> {
    directory.account_by_name(key).ok_or_else(|| unknown("account", key))
}

async fn add(
    office: &Office,
    site: &str,
    name: Option<String>,
    link: Option<TunnelLink>,
    password: Option<String>,
) -> Result<Reply, OperationError> {
    let site = site::find(&office.directory, site)?;
    if let Some(other) = office.directory.account_of_site(site.id) {
        return Err(OperationError::SiteHasAccount { site: site.code.clone(), account: other.name.clone() });
    }
    let name = name.unwrap_or_else(|| site.domain.split('.').next().unwrap_or_default().to_owned());
    let (password, made) = given_or_made(password)?;
    let sealed = Account::seal(&name, &office.key_file, &password)?;
    let account = put(office, Account { link, ..Account::new(&name, site.id, sealed)? }).await?;
    let mut message = format!("added account {name} of site {}", site.name);
    let mut item = shown(&account, &office.directory);
    if made {
        tell(&password, &mut message, &mut item);
    }
    if site.prefix.is_none() {
        let warning = format!(
            "site {} has no prefix: its IAD can log in for a numbered link at most, and its phones get no addresses",
            site.code
        );
        message.push_str(&format!("\nwarning: {warning}"));
        item["warning"] = json!(warning);
    }
    Ok(Reply::Done { message, item })
}

async fn set_barred(office: &Office, account: &str, barred: bool) -> Result<Reply, OperationError> {
    let account = find(&office.directory, account)?;
    let account = put(office, Account { barred, ..Account::clone(&account) }).await?;
    let message = match barred {
        true => format!("barred account {}: its tunnel is cut and its logins are refused", account.name),
        false => format!("account {} may log in again", account.name),
    };
    Ok(Reply::Done { message, item: shown(&account, &office.directory) })
}

async fn put(office: &Office, account: Account) -> Result<Account, OperationError> {
    match office.write(Change::PutAccount(account)).await? {
        Change::PutAccount(account) => Ok(account),
        _ => Err(OperationError::NoRow),
    }
}

/// The password, and whether it was made here.
fn given_or_made(password: Option<String>) -> Result<(Password, bool), OperationError> {
    Ok(match password {
        Some(password) => (Password::new(password), false),
        None => (secret::generate_password()?, true),
    })
}

/// Shows a password that was made here, this once.
fn tell(password: &Password, message: &mut String, item: &mut Value) {
    message.push_str(&format!("\npassword {}  (shown only this once)", password.reveal()));
    item["password"] = json!(password.reveal());
}

fn shown(account: &Account, directory: &Directory) -> Value {
    let site = directory.site(account.site);
    let lease = directory.lease(account.id);
    let mut row = json!(account);
    row["site_code"] = json!(site.as_ref().map(|site| site.code.clone()));
    row["prefix"] = json!(site.and_then(|site| site.prefix));
    row["tunnel"] = json!(match lease.as_deref() {
        None => "never",
        Some(lease) if lease.up => "up",
        Some(_) => "down",
    });
    row["client"] = json!(lease.and_then(|lease| lease.client));
    row
}

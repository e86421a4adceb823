//! What an operator can ask of the platform, one noun a file.
//!
//! The command line reads its arguments straight into an [`Operation`]. A running node executes it for the command line
//! over its admin socket; without a running node the command line executes it itself on the opened store.

mod account;
mod alarm;
mod call;
mod device;
mod explain;
mod ladder;
mod line;
mod node;
mod number;
mod pool;
mod prefix;
mod region;
mod reply;
mod route;
mod site;
mod site_status;
mod source;
mod trunk;
mod tunnel;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use dorm_provisioning::identity::NoSubnet;
use dorm_provisioning::prefix_plan::PlanError;
use registrar::Locations;
use schema::secret::{KeyFile, SecretError};
use schema::{Change, Directory, Store, StoreError, Writer};
use serde::{Deserialize, Serialize};

pub(crate) use account::AccountOperation;
pub(crate) use alarm::AlarmOperation;
pub(crate) use call::CallOperation;
pub(crate) use device::DeviceOperation;
pub(crate) use line::LineOperation;
pub(crate) use node::{Live, NodeOperation};
pub(crate) use number::NumberOperation;
pub(crate) use pool::PoolOperation;
pub(crate) use prefix::PrefixOperation;
pub(crate) use region::RegionOperation;
pub(crate) use reply::Reply;
pub(crate) use route::RouteOperation;
pub(crate) use site::SiteOperation;
pub(crate) use source::SourceOperation;
pub(crate) use trunk::TrunkOperation;
pub(crate) use tunnel::{TunnelOperation, Tunnels};

/// A noun and what to do with it.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    /// Dorms: their names, codes, domains and prefixes
    #[command(subcommand)]
    Site(SiteOperation),
    /// Phones and routers of the dorms: which address each should have, and which it has
    #[command(subcommand)]
    Device(DeviceOperation),
    /// The carrier's IPv6 prefix, from which sites get theirs
    #[command(subcommand)]
    Pool(PoolOperation),
    /// Parts of the country, each with blocks of the pool
    #[command(subcommand)]
    Region(RegionOperation),
    /// The address plan as a whole
    #[command(subcommand)]
    Prefix(PrefixOperation),
    /// Tunnel accounts: what the sites' IADs log in with
    #[command(subcommand)]
    Account(AccountOperation),
    /// Tunnels: which sites have one, since when, and what goes through it
    #[command(subcommand)]
    Tunnel(TunnelOperation),
    /// Telephone lines: extensions and their credentials
    #[command(subcommand)]
    Line(LineOperation),
    /// Telephone numbers (E.164) that ring a line
    #[command(subcommand)]
    Number(NumberOperation),
    /// Carriers' gateways
    #[command(subcommand)]
    Trunk(TrunkOperation),
    /// Which trunk a dialled number takes
    #[command(subcommand)]
    Route(RouteOperation),
    /// Call records
    #[command(subcommand)]
    Call(CallOperation),
    /// What is wrong at the sites, why, and what helps
    #[command(subcommand)]
    Alarm(AlarmOperation),
    /// Where requests come from, and who is taken for a scanner
    #[command(subcommand)]
    Source(SourceOperation),
    /// The platform's own nodes
    #[command(subcommand)]
    Node(NodeOperation),
}

/// Why an operation was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OperationError {
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The save did not come about.
    #[error(transparent)]
    Save(#[from] schema::SaveError),
    /// A field is not valid.
    #[error(transparent)]
    Invalid(#[from] schema::InvalidRow),
    /// What was named does not exist.
    #[error("there is no {what} {key:?}: `centrex6 {what} list` shows what there is")]
    Unknown {
        /// The noun.
        what: &'static str,
        /// What the user wrote.
        key: String,
    },
    /// The number rings another line.
    #[error("{number} rings line {line}: add --move to take it from there")]
    NumberTaken {
        /// The number.
        number: String,
        /// Whose it is.
        line: String,
    },
    /// The address plan does not give what was asked for.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The site's prefix has no room for the VLAN.
    #[error(transparent)]
    Subnet(#[from] NoSubnet),
    /// A device is not where its line is.
    #[error("line {line} is not at site {site}: a device registers lines of its own site")]
    LineElsewhere {
        /// The line.
        line: String,
        /// The device's site.
        site: String,
    },
    /// A site has one account.
    #[error(
        "site {site} has the account {account}: `centrex6 account password {account}` sets its password anew, and `centrex6 account remove \
         {account}` makes room for another"
    )]
    SiteHasAccount {
        /// The site.
        site: String,
        /// Its account.
        account: String,
    },
    /// Nobody said where a site's prefix comes from.
    #[error(
        "the site needs a prefix: --region takes one from the pool ({regions}), --prefix gives one by hand, and --no-prefix lets its \
         phones register from everywhere"
    )]
    NoPrefix {
        /// The regions that there are.
        regions: String,
    },
    /// A password could not be sealed.
    #[error("the password could not be sealed: {0}")]
    Seal(#[from] SecretError),
    /// What only a running node knows was asked of the store.
    #[error(
        "no node runs here, and only a running one remembers messages: start it, or ask on the machine that carried the call"
    )]
    NotLive,
    /// What only a running node knows was asked of the store.
    #[error(
        "no node runs here, and only a running one knows where requests come from: start it, or ask on its machine"
    )]
    NotRunning,
    /// The messages are no longer remembered.
    #[error(
        "the messages of call {id:?} are not remembered here: node {node:?} carried it; [trace] memory_mib sets how many are kept"
    )]
    Forgotten {
        /// The call.
        id: String,
        /// Who carried it.
        node: String,
    },
    /// The store took the change and did not say what it wrote.
    #[error("the store gave no row back")]
    NoRow,
}

/// What operations work on: a running node's parts, or those of a store opened for one command.
pub(crate) struct Office {
    /// For what is not kept in memory: call records and nodes.
    pub store: Arc<dyn Store>,
    /// Everything else.
    pub directory: Arc<Directory>,
    /// Who registered from where.
    pub locations: Arc<Locations>,
    /// All changes go through it.
    pub writer: Writer,
    /// Seals passwords.
    pub key_file: KeyFile,
    /// The digest realm that passwords are hashed with.
    pub realm: String,
    /// What a running node knows of itself.
    pub live: Option<Live>,
}

impl Operation {
    /// Reads the words of a command line, without the program's name.
    pub(crate) fn from_words(words: &[&str]) -> Result<Operation, clap::Error> {
        #[derive(clap::Parser)]
        #[command(no_binary_name = true)]
        struct Words {
            #[command(subcommand)]
            operation: Operation,
        }
        <Words as clap::Parser>::try_parse_from(words).map(|words| words.operation)
    }

    /// Where to put a password that the user gives on standard input, when the user asked for that.
    pub(crate) fn wanted_password(&mut self) -> Option<&mut Option<String>> {
        match self {
            Operation::Line(operation) => operation.wanted_password(),
            Operation::Account(operation) => operation.wanted_password(),
            _ => None,
        }
    }

    /// Carries it out.
    pub(crate) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        match self {
            Operation::Site(operation) => operation.execute(office).await,
            Operation::Device(operation) => operation.execute(office).await,
            Operation::Pool(operation) => operation.execute(office).await,
            Operation::Region(operation) => operation.execute(office).await,
            Operation::Prefix(operation) => operation.execute(office).await,
            Operation::Account(operation) => operation.execute(office).await,
            Operation::Tunnel(operation) => operation.execute(office).await,
            Operation::Line(operation) => operation.execute(office).await,
            Operation::Number(operation) => operation.execute(office).await,
            Operation::Trunk(operation) => operation.execute(office).await,
            Operation::Route(operation) => operation.execute(office).await,
            Operation::Call(operation) => operation.execute(office).await,
            Operation::Alarm(operation) => operation.execute(office).await,
            Operation::Source(operation) => operation.execute(office).await,
            Operation::Node(operation) => operation.execute(office).await,
        }
    }
}

impl Office {
    /// Writes one change; gives it back as it stands on disk, with the id that the store gave.
    async fn write(&self, change: Change) -> Result<Change, OperationError> {
        let mut written = self.writer.save_each(vec![change]).await?;
        Ok(written.pop().ok_or(OperationError::NoRow)??)
    }
}

fn unknown(what: &'static str, key: &str) -> OperationError {
    OperationError::Unknown { what, key: key.to_owned() }
}

/// Seconds since 1970.
fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

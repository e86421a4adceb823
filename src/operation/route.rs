//! Routes.

use clap::Subcommand;
use schema::{Change, Directory, Route};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Office, OperationError, Reply, trunk, unknown};

/// What can be done with routes.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RouteOperation {
    /// Add a route
    Add {
        /// First digits of the numbers that take it, like +81; empty for every number
        #[arg(long, default_value = "")]
        prefix: String,
        /// Name of the trunk
        #[arg(long)]
        trunk: String,
        /// Among routes of one prefix, the lower is tried first
        #[arg(long, default_value_t = 0)]
        priority: u16,
        /// Characters taken from the number's front, the plus sign counts
        #[arg(long, default_value_t = 0)]
        strip: u8,
        /// Digits put before the number then
        #[arg(long, default_value = "")]
        prepend: String,
    },
    /// List all routes
    List,
    /// Show one route
    Show {
        /// Its id, as listed
        route: i64,
    },
    /// Remove a route
    Remove {
        /// Its id, as listed
        route: i64,
    },
}

impl RouteOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        let directory = &office.directory;
        let find = |id: i64| {
            let found = directory.routes().into_iter().find(|route| route.id.0 == id);
            found.ok_or_else(|| unknown("route", &id.to_string()))
        };
        match self {
            RouteOperation::Add { prefix, trunk, priority, strip, prepend } => {
                let trunk = trunk::find(directory, &trunk)?;
                let route = Route { strip, prepend, ..Route::new(&prefix, priority, trunk.id)? };
                route.check()?;
                let Change::PutRoute(route) = office.write(Change::PutRoute(route)).await? else {
                    return Err(OperationError::NoRow);
                };
                let message =
                    format!("added route {}: {:?} to trunk {}", route.id.0, route.prefix, trunk.name);
                Ok(Reply::Done { message, item: shown(&route, directory) })
            }
            RouteOperation::List => {
                let mut routes = directory.routes();
                routes.sort_by(|one, two| (&one.prefix, one.priority).cmp(&(&two.prefix, two.priority)));
                let rows = routes.iter().map(|route| shown(route, directory)).collect();
                let columns = [
                    ("ID", "id"),
                    ("PREFIX", "prefix"),
                    ("PRIORITY", "priority"),
                    ("TRUNK", "trunk_name"),
                    ("STRIP", "strip"),
                    ("PREPEND", "prepend"),
                ];
                Ok(Reply::rows(&columns, rows))
            }
            RouteOperation::Show { route } => Ok(Reply::Item(shown(&*find(route)?, directory))),
            RouteOperation::Remove { route } => {
                let route = find(route)?;
                let item = shown(&route, directory);
                office.write(Change::RemoveRoute(route.id)).await?;
                Ok(Reply::Done { message: format!("removed route {}", route.id.0), item })
            }
        }
    }
}

fn shown(route: &Route, directory: &Directory) -> Value {
    let mut row = json!(route);
    row["trunk_name"] = json!(directory.trunk(route.trunk).map(|trunk| trunk.name.clone()));
    row
}

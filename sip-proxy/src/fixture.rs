//! Two small sites for tests.

use std::sync::{Arc, OnceLock};

use schema::secret::{Ha1Set, Password, Sealed};
use schema::{
    Change, Directory, Gateway, Line, LineId, Number, Rights, Route, RouteId, Site, SiteId, Trunk, TrunkId,
};

/// Site 1 (code 41) has the lines 101 (may call everywhere), 102 (inside only) and 110; site 2 (code 42) has 201 (no
/// other countries) with the number +81355550201. Routes lead to +81, +1 and the emergency numbers.
pub(crate) fn directory() -> Arc<Directory> {
    static DIRECTORY: OnceLock<Arc<Directory>> = OnceLock::new();
    Arc::clone(DIRECTORY.get_or_init(|| Arc::new(build())))
}

/// A line by its authentication user.
pub(crate) fn line(auth_user: &str) -> Arc<Line> {
    directory().line_by_auth_user(auth_user).unwrap()
}

/// The password of every line.
pub(crate) const PASSWORD: &str = "open sesame";
/// The realm of the platform.
pub(crate) const REALM: &str = "centrex6.example";

/// The same as [`directory`], for a test that changes it.
pub(crate) fn build() -> Directory {
    let directory = Directory::default();
    for (id, code) in [(1, "41"), (2, "42")] {
        let mut site = Site::new(&format!("Site {id}"), code, &format!("s{id}.example.net")).unwrap();
        site.id = SiteId(id);
        directory.apply(&Change::PutSite(site));
    }
    let everywhere = Rights { external: true, international: true };
    let inside = Rights { external: false, international: false };
    for (id, site, extension, rights) in [
        (1, 1, "101", everywhere),
        (2, 1, "102", inside),
        (3, 1, "110", everywhere),
        (4, 2, "201", Rights { international: false, ..everywhere }),
    ] {
        let user = format!("s{site}-{extension}");
        let ha1 = Ha1Set::of(&user, REALM, &Password::new(PASSWORD));
        let sealed = Sealed::from_stored("c2VhbGVk".to_owned());
        let mut line = Line::new(SiteId(site), extension, &user, ha1, sealed).unwrap();
        line.id = LineId(id);
        line.rights = rights;
        directory.apply(&Change::PutLine(line));
    }
    directory.apply(&Change::PutNumber(Number::new("+81355550201", LineId(4)).unwrap()));
    let gateway: Gateway = "192.0.2.1:5060".parse().unwrap();
    let mut trunk = Trunk::new("carrier", vec![gateway]).unwrap();
    trunk.id = TrunkId(1);
    directory.apply(&Change::PutTrunk(trunk));
    for (id, prefix) in [(1, "+81"), (2, "+1"), (3, "110"), (4, "119")] {
        let mut route = Route::new(prefix, 0, TrunkId(1)).unwrap();
        route.id = RouteId(id);
        directory.apply(&Change::PutRoute(route));
    }
    directory
}

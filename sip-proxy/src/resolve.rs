//! Whom a Request-URI means: the numbering of the platform (sites, extensions, numbers) and its rights.

use std::sync::Arc;

use schema::{Directory, Line, Site};
use sip_core::flow::Flow;
use sip_core::wire::{Host, Name, StatusCode, Uri};

use crate::dial_plan::{External, dialled};
use crate::refusal::Refusal;
use crate::settings::Settings;

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// An authenticated line.
    Line(Arc<Line>),
    /// A trunk, by way of a translator.
    Trunk,
    /// A translator that carries out what a line asked for by REFER: with the rights of that line.
    Referrer(Arc<Line>),
}

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To a line's phones.
    Line(Arc<Line>),
    /// To the outside, through a translator: the number to send.
    Outside(String),
}

/// The part of ours that a URI's host names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Domain {
    /// The platform as a whole: realm, our addresses, tel URIs.
    Platform,
    /// One site.
    Site(Arc<Site>),
}

/// The part of ours that the URI names, or `None` when it is a stranger's.
pub(crate) fn domain_of(
    uri: &Uri,
    flow: &Flow,
    directory: &Directory,
    settings: &Settings,
) -> Option<Domain> {
    match uri {
        Uri::Tel(_) => Some(Domain::Platform),
        Uri::Sip(uri) if settings.is_own(&uri.host_port, flow) => Some(Domain::Platform),
        Uri::Sip(uri) => match &uri.host_port.host {
            Host::Name(name) => directory.site_by_domain(name).map(Domain::Site),
            _ => None,
        },
        Uri::Other(_) => None,
    }
}

/// Resolves what was dialled. The order is: emergency numbers, extensions of the named or the caller's site, site code and
/// extension, then the dial plan, where a number of our own stays inside.
pub(crate) fn resolve(
    caller: &Caller,
    domain: &Domain,
    uri: &Uri,
    directory: &Directory,
    settings: &Settings,
) -> Result<Destination, Refusal> {
    let not_found = || Refusal::new(StatusCode::NOT_FOUND, "");
    let number = dialled(uri).ok_or_else(not_found)?;
    let line = match caller {
        Caller::Line(line) | Caller::Referrer(line) => line,
        Caller::Trunk => {
            // What comes from outside goes inside, never outside again.
            return directory.line_of_number(&number).map(Destination::Line).ok_or_else(not_found);
        }
    };
    let home = match domain {
        Domain::Site(site) => site.id,
        Domain::Platform => line.site,
    };
    // An extension must never hide an emergency number.
    if settings.dial_plan.emergency(&number).is_none() {
        if let Some(found) = directory.line_at(home, &number) {
            return Ok(Destination::Line(found));
        }
        // In another site's domain only its own extensions have a meaning.
        if home != line.site {
            return Err(not_found());
        }
        if let Some(found) = by_site_code(&number, directory)? {
            return Ok(Destination::Line(found));
        }
    }
    outside(line, settings.dial_plan.external(&number).ok_or_else(not_found)?, directory)
}

/// The line that a site's code and an extension name. A code may be the beginning of another one, so that a number can be read in more
/// than one way: who dials it is told which lines it may mean (RFC 3261 §21.4.23).
fn by_site_code(number: &str, directory: &Directory) -> Result<Option<Arc<Line>>, Refusal> {
    let readings = (1..number.len()).filter_map(|length| {
        let (code, extension) = number.split_at_checked(length)?;
        let site = directory.site_by_code(code)?;
        Some((directory.line_at(site.id, extension)?, site))
    });
    let mut readings: Vec<(Arc<Line>, Arc<Site>)> = readings.take(MAX_READINGS).collect();
    if readings.len() > 1 {
        let refusal = Refusal::new(StatusCode::AMBIGUOUS, "");
        return Err(readings.iter().fold(refusal, |refusal, (line, site)| {
            refusal.with(Name::Contact, format_args!("<sip:{}@{}>", line.extension, site.domain))
        }));
    }
    Ok(readings.pop().map(|(line, _)| line))
}

/// Ways to read one number that are told.
const MAX_READINGS: usize = 8;

/// A number that leads outside: to one of our own lines after all, or to a trunk if there is a route and the line may.
fn outside(line: &Line, external: External, directory: &Directory) -> Result<Destination, Refusal> {
    if let Some(found) = directory.line_of_number(external.number()) {
        return Ok(Destination::Line(found));
    }
    let forbidden = |reason| Err(Refusal::new(StatusCode::FORBIDDEN, reason));
    match &external {
        External::Emergency(_) => {}
        _ if !line.rights.external => return forbidden("Line May Not Call Outside"),
        External::International(_) if !line.rights.international => {
            return forbidden("Line May Not Call Other Countries");
        }
        _ => {}
    }
    if directory.routes_for(external.number()).is_empty() {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "No Route To This Number"));
    }
    Ok(Destination::Outside(external.number().to_owned()))
}

#[cfg(test)]
mod tests {
    use sip_core::flow::Transport;

    use super::*;
    use crate::fixture;

    fn outcome(caller: &Caller, uri: &str) -> Result<String, (u16, &'static str)> {
        let (settings, directory) = (Settings::for_tests(), fixture::directory());
        let (local, remote) = ("[2001:db8::1]:5060".parse().unwrap(), "[2001:db8::20]:5060".parse().unwrap());
        let flow = Flow { transport: Transport::Udp, local, remote, connection: None };
        let uri: Uri = uri.parse().unwrap();
        let Some(domain) = domain_of(&uri, &flow, &directory, &settings) else { return Err((0, "stranger")) };
        match resolve(caller, &domain, &uri, &directory, &settings) {
            Ok(Destination::Line(line)) => Ok(line.auth_user.clone()),
            Ok(Destination::Outside(number)) => Ok(format!("out {number}")),
            Err(refusal) => Err((refusal.status.code(), refusal.reason)),
        }
    }

    #[test]
    fn a_line_dials() {
        // 101 of site 1 may call everywhere.
        let caller = Caller::Line(fixture::line("s1-101"));
        for (uri, expected) in [
            ("sip:102@s1.example.net", Ok("s1-102")),
            ("sip:102@S1.Example.NET", Ok("s1-102")),
            ("sip:102@centrex6.example", Ok("s1-102")),
            ("sip:102@[2001:db8::1]:5060", Ok("s1-102")),
            ("sip:1-0-2@[2001:db8::1];user=phone", Ok("s1-102")),
            ("tel:102;phone-context=s1.example.net", Ok("s1-102")),
            ("sip:201@s2.example.net", Ok("s2-201")),
            ("sip:42201@s1.example.net", Ok("s2-201")),
            ("sip:41102@s1.example.net", Ok("s1-102")),
            ("sip:+81355550201@s1.example.net", Ok("s2-201")),
            ("sip:0355550201@centrex6.example", Ok("s2-201")),
            ("sip:03-5555-0201@s1.example.net;user=phone", Ok("s2-201")),
            ("tel:+81-3-5555-0201", Ok("s2-201")),
            ("sip:0312345678@s1.example.net", Ok("out +81312345678")),
            ("sip:%2B81312345678@s1.example.net", Ok("out +81312345678")),
            ("sip:01012125550123@s1.example.net", Ok("out +12125550123")),
            ("sip:119@s1.example.net", Ok("out 119")),
            // There is an extension 110 in site 1, and yet.
            ("sip:110@s1.example.net", Ok("out 110")),
            ("sip:199@s1.example.net", Err((404, ""))),
            ("sip:42999@s1.example.net", Err((404, ""))),
            ("sip:0312345678@s2.example.net", Err((404, ""))),
            ("sip:alice@s1.example.net", Err((404, ""))),
            ("sip:102@s9.example.net", Err((0, "stranger"))),
            ("sip:102@[2001:db8::2]", Err((0, "stranger"))),
            ("sip:01044205550123@s1.example.net", Err((404, "No Route To This Number"))),
        ] {
            assert_eq!(outcome(&caller, uri), expected.map(str::to_owned), "{uri}");
        }
    }

    /// RFC 3261 §21.4.23: an address that may mean several lines is answered with 485 and where each can be reached.
    #[test]
    fn a_number_that_can_be_read_in_two_ways() {
        let directory = Directory::default();
        for (id, code, extension) in [(1, "7", "0201"), (2, "70", "201"), (3, "701", "55")] {
            let mut site = Site::new(&format!("Site {id}"), code, &format!("s{id}.example.net")).unwrap();
            site.id = schema::SiteId(id);
            directory.apply(&schema::Change::PutSite(site));
            let mut line = Line::clone(&fixture::line("s1-101"));
            line.id = schema::LineId(id);
            line.site = schema::SiteId(id);
            line.extension = extension.to_owned();
            line.auth_user = format!("s{id}");
            directory.apply(&schema::Change::PutLine(line));
        }
        let refusal = by_site_code("70201", &directory).unwrap_err();
        let contacts: Vec<&str> = refusal.headers.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(refusal.status.code(), 485);
        assert_eq!(contacts, ["<sip:0201@s1.example.net>", "<sip:201@s2.example.net>"]);
        let found = |number| by_site_code(number, &directory).unwrap().map(|line| line.auth_user.clone());
        assert_eq!(found("70155").as_deref(), Some("s3"));
        assert_eq!(found("7099"), None);
    }

    #[test]
    fn rights_are_obeyed_except_in_an_emergency() {
        let inside_only = Caller::Line(fixture::line("s1-102"));
        assert_eq!(
            outcome(&inside_only, "sip:0312345678@s1.example.net"),
            Err((403, "Line May Not Call Outside"))
        );
        assert_eq!(outcome(&inside_only, "sip:0355550201@s1.example.net").as_deref(), Ok("s2-201"));
        assert_eq!(outcome(&inside_only, "sip:119@s1.example.net").as_deref(), Ok("out 119"));
        let national = Caller::Line(fixture::line("s2-201"));
        assert_eq!(outcome(&national, "sip:0312345678@s2.example.net").as_deref(), Ok("out +81312345678"));
        assert_eq!(
            outcome(&national, "sip:01012125550123@s2.example.net"),
            Err((403, "Line May Not Call Other Countries"))
        );
    }

    #[test]
    fn a_trunk_reaches_numbers_and_nothing_else() {
        for (uri, expected) in [
            ("sip:+81355550201@[2001:db8::1]:5060", Ok("s2-201")),
            ("sip:201@s2.example.net", Err((404, ""))),
            ("sip:+81312345678@[2001:db8::1]", Err((404, ""))),
            ("sip:119@[2001:db8::1]", Err((404, ""))),
        ] {
            assert_eq!(outcome(&Caller::Trunk, uri), expected.map(str::to_owned), "{uri}");
        }
    }
}

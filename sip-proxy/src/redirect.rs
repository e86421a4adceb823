//! Redirections of our own lines' phones (RFC 3261 §16.7, step 4): followed where they lead to other lines of ours. A phone must not
//! spend the platform's money, so what leads outside is left to the caller.

use std::time::Instant;

use sip_core::wire::header::Contact;
use sip_core::wire::{Message, Name};

use crate::core::ProxyCore;
use crate::resolve::{Caller, Destination, domain_of, resolve};
use crate::target::{Target, of_bindings};

/// Where to go instead, in groups; and the response with the contacts that nobody follows, when there are any.
type Elsewhere = (Vec<Vec<Target>>, Option<Message>);

impl ProxyCore {
    /// The targets of a 3xx to a branch. `None` when it is no redirection, or one that is not followed.
    pub(crate) fn follow(
        &mut self,
        now: Instant,
        number: u64,
        branch: usize,
        response: &Message,
    ) -> Option<Elsewhere> {
        if !self.settings.follow_redirects || response.status()?.class() != 3 {
            return None;
        }
        let context = self.contexts.get_mut(&number)?;
        let forwarding = &mut context.forwarding;
        if !forwarding.fork.may_redirect(branch) {
            return None;
        }
        let share = forwarding.fork.target(branch)?.breadth;
        let line = self.directory.line(*forwarding.tried.first()?)?;
        let caller = Caller::Line(line);
        let unix_now = self.clock.unix(now);
        let mut contacts: Vec<Contact> = response.all::<Contact>().take(MAX_CONTACTS).flatten().collect();
        // The best first; equals stay in order.
        contacts.sort_by_key(|contact| std::cmp::Reverse(contact.q()));
        let (mut groups, mut rest) = (Vec::new(), Vec::new());
        for contact in contacts {
            let target = contact.address().and_then(|address| {
                let domain = domain_of(&address.uri, &forwarding.flow, &self.directory, &self.settings)?;
                match resolve(&caller, &domain, &address.uri, &self.directory, &self.settings) {
                    Ok(Destination::Line(line)) => Some(line.id),
                    _ => None,
                }
            });
            match target {
                // Who was tried has said what there is to say.
                Some(line) if forwarding.tried.contains(&line) => {}
                Some(line) if forwarding.tried.len() <= MAX_FOLLOWED => {
                    forwarding.tried.push(line);
                    let bindings = self.locations.lookup(line, unix_now);
                    groups.extend(of_bindings(&bindings, &forwarding.flow, &self.settings, share));
                }
                _ => rest.push(contact),
            }
        }
        let room = self.settings.limits.max_branches.saturating_sub(forwarding.fork.len());
        bound(&mut groups, room);
        if groups.is_empty() {
            return None;
        }
        let rest = (!rest.is_empty()).then(|| {
            let mut edit = response.edit();
            edit.remove(Name::Contact);
            for contact in &rest {
                edit.append(Name::Contact, contact);
            }
            edit.finish()
        });
        Some((groups, rest))
    }
}

/// Leaves so many targets.
fn bound(groups: &mut Vec<Vec<Target>>, mut room: usize) {
    for group in groups.iter_mut() {
        group.truncate(room);
        room -= group.len();
    }
    groups.retain(|group| !group.is_empty());
}

/// Contacts of one redirection that are looked at.
const MAX_CONTACTS: usize = 16;
/// Lines that one call may be redirected to, one after the other or together.
const MAX_FOLLOWED: usize = 5;

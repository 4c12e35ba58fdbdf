//! Sites that this server's nginx answers for, as hop-helper-server has it do that. For the process
//! with the login's rights, and for what root runs. Must not know: who asks for which.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::firewall::Done;
use crate::base::json::{Fields, ReadError};
use crate::helper::nginx::{Nginx, Reached};
use crate::rpc::types::firewall::{OF, app_of};
use crate::workspace::plan::Site;

struct Listed {
    app: String,
    service: String,
    site: Site,
}

fn read(json: Value) -> Result<Listed, ReadError> {
    let mut fields = Fields::of(json, "")?;
    let domains = fields.take("domains");
    let names = domains.as_ref().and_then(Value::as_array).map(|all| {
        all.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    let missing = || fields.error("domains", "must be names of sites");
    let domains = names.flatten().ok_or_else(missing)?;
    Ok(Listed {
        app: fields.string("app_name")?,
        service: fields.string("service")?,
        site: Site { domains, port: fields.int("port", 1..=65_535)? },
    })
}

/// One that cannot be read is none of ours.
fn listed(nginx: &mut Nginx, app: Option<&str>) -> Done<Vec<Listed>> {
    let (sites, _) = nginx.sites(app)?;
    Ok(sites.into_iter().filter_map(|site| read(site).ok()).collect())
}

/// Of a workspace, by service.
pub fn of(workspace: &str) -> Done<BTreeMap<String, Site>> {
    let all = listed(&mut Nginx::connect()?, Some(&app_of(workspace)))?;
    Ok(all.into_iter().map(|listed| (listed.service, listed.site)).collect())
}

/// What of nginx's answers in its place all the same, if that is known.
pub fn serve(workspace: &str, service: &str, site: &Site) -> Done<Option<String>> {
    let (app, Site { domains, port }) = (app_of(workspace), site);
    let site = json!({"app_name": app, "service": service, "domains": domains, "port": port});
    Ok(match Nginx::connect()?.set(site)? {
        Reached::No(by) => Some(by),
        Reached::Yes | Reached::Unknown => None,
    })
}

pub fn unserve(workspace: &str, service: &str) -> Done<()> {
    Ok(Nginx::connect()?.remove(&app_of(workspace), service)?)
}

/// Ends what the agent has nginx answer for, whose it ever is; by root, when there is no agent any
/// more.
pub fn end_all() -> Done<()> {
    let mut nginx = Nginx::connect()?;
    loop {
        // It tells no more at once than fit into a reply.
        let mut ours = listed(&mut nginx, None)?;
        ours.retain(|one| one.app.starts_with(OF));
        if ours.is_empty() {
            return Ok(());
        }
        ours.iter().try_for_each(|one| nginx.remove(&one.app, &one.service))?;
    }
}

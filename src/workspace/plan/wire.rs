//! A plan as JSON.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Plan, Site, Step};
use crate::base::json::{Fields, ReadError};
use crate::workspace::check;

/// Of each kind at most one for a service, and there are not more than 64 before and after.
const STEPS: usize = 512;
const LISTED: usize = 4096;

impl Step {
    pub fn to_json(&self) -> Value {
        match self {
            Step::Close { ports } => json!({"do": "close", "ports": ports}),
            Step::Setup => json!({"do": "setup"}),
            Step::Stop { service } => json!({"do": "stop", "service": service}),
            Step::Remove { service, volumes } => {
                json!({"do": "remove", "service": service, "volumes": volumes})
            }
            Step::Replace { service, volumes } => {
                json!({"do": "replace", "service": service, "volumes": volumes})
            }
            Step::Start { service } => json!({"do": "start", "service": service}),
            Step::Adjust { service } => json!({"do": "adjust", "service": service}),
            Step::Publish { service, ports } => {
                json!({"do": "publish", "service": service, "ports": ports})
            }
            Step::Serve { service, site: Site { domains, port }, ended } => json!({
                "do": "serve", "service": service, "domains": domains, "port": port,
                "ended": ended,
            }),
            Step::Unserve { service, domains } => {
                json!({"do": "unserve", "service": service, "domains": domains})
            }
            Step::Keep => json!({"do": "keep"}),
            Step::Hook => json!({"do": "hook"}),
        }
    }

    /// A kind that is not known is refused: what cannot be shown cannot be agreed to.
    pub fn read(fields: &mut Fields) -> Result<Step, ReadError> {
        let what = fields.string("do")?;
        Ok(match what.as_str() {
            "close" => Step::Close { ports: ports(fields)? },
            "setup" => Step::Setup,
            "stop" => Step::Stop { service: service(fields)? },
            "remove" => Step::Remove { service: service(fields)?, volumes: volumes(fields)? },
            "replace" => Step::Replace { service: service(fields)?, volumes: volumes(fields)? },
            "start" => Step::Start { service: service(fields)? },
            "adjust" => Step::Adjust { service: service(fields)? },
            "publish" => Step::Publish { service: service(fields)?, ports: ports(fields)? },
            "serve" => Step::Serve {
                service: service(fields)?,
                site: Site {
                    domains: domains(fields, "domains")?,
                    port: fields.int("port", 1..=65_535)?,
                },
                ended: domains(fields, "ended")?,
            },
            "unserve" => {
                Step::Unserve { service: service(fields)?, domains: domains(fields, "domains")? }
            }
            "keep" => Step::Keep,
            "hook" => Step::Hook,
            _ => return Err(fields.error("do", "is no step that this version knows")),
        })
    }
}

impl Plan {
    pub fn to_json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(Step::to_json).collect();
        json!({"steps": steps, "generation": self.generation, "digest": self.digest.to_string()})
    }

    pub fn read(fields: &mut Fields) -> Result<Plan, ReadError> {
        let steps = fields.objects("steps", STEPS)?;
        let steps = steps.into_iter().map(|mut step| Step::read(&mut step));
        Ok(Plan {
            steps: steps.collect::<Result<_, _>>()?,
            generation: fields.int("generation", 0..=u64::MAX)?,
            digest: fields.meant("digest", str::parse)?,
        })
    }
}

fn service(fields: &mut Fields) -> Result<String, ReadError> {
    let read = |text: &str| check::service(text).map_err(|refusal| refusal.why);
    fields.meant("service", |text| read(text).map(|()| text.to_owned()))
}

fn list(fields: &mut Fields, key: &str) -> Result<Vec<Value>, ReadError> {
    match fields.take(key) {
        Some(Value::Array(items)) if items.len() <= LISTED => Ok(items),
        _ => Err(fields.error(key, "must be a list")),
    }
}

fn ports(fields: &mut Fields) -> Result<BTreeSet<u16>, ReadError> {
    let port = |item: &Value| item.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    let ports = list(fields, "ports")?.iter().map(port).collect::<Option<_>>();
    ports.ok_or_else(|| fields.error("ports", "must be ports"))
}

fn domains(fields: &mut Fields, key: &str) -> Result<Vec<String>, ReadError> {
    let name = |item: &Value| check::domain(item.as_str()?).ok();
    let names = list(fields, key)?.iter().map(name).collect::<Option<_>>();
    names.ok_or_else(|| fields.error(key, "must be names of sites"))
}

fn volumes(fields: &mut Fields) -> Result<Vec<String>, ReadError> {
    let text = |item: Value| item.as_str().map(str::to_owned);
    let texts = list(fields, "volumes")?.into_iter().map(text).collect::<Option<_>>();
    texts.ok_or_else(|| fields.error("volumes", "must be texts"))
}

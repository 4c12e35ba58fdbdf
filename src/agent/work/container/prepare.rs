//! Before a container's keeper is started: an engine that works, the image, the address, and the
//! container's recipe. What is missing is said here, where somebody hears it.

use std::path::Path;
use std::time::Duration;

use super::address;
use super::contain::{is_free, remove};
use super::engine::Engine;
use super::image;
use super::recipe::{Place, Recipe};
use crate::agent::work::ports::mapped;
use crate::agent::work::state;
use crate::workspace::manifest::{Container, Desired, Kind, Service};

/// After a boot the tunnel may take its time.
const ADDRESS_WITHIN: Duration = Duration::from_secs(120);

/// A service's own and its place.
pub struct Wanted<'a> {
    pub desired: &'a Desired,
    pub name: &'a str,
    pub service: &'a Service,
    pub dir: &'a Path,
}

impl Wanted<'_> {
    fn container(&self) -> Option<&Container> {
        match &self.service.kind {
            Kind::Container(container) => Some(container),
            Kind::Native { .. } => None,
        }
    }

    /// The one that it had before, as long as that works: its container is there.
    fn engine(&self) -> Result<Engine, String> {
        let before = Recipe::load(self.dir).and_then(Result::ok).map(|recipe| recipe.engine);
        before.and_then(|engine| engine.usable().ok()).map_or_else(Engine::find, Ok)
    }

    /// Fetches the image if it is not here; nothing for what is no container.
    pub fn fetch(&self, say: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), String> {
        let Some(container) = self.container() else { return Ok(()) };
        let engine = self.engine()?;
        image::have(&engine, &container.image, say)?;
        if let Some(caution) = image::caution(&engine, &container.image)? {
            say(format!("{caution}\n").as_bytes());
        }
        Ok(())
    }

    /// Everything that its start needs. Of one that is no container any more nothing is left.
    pub fn prepare(&self) -> Result<(), String> {
        let Some(container) = self.container() else {
            remove(self.dir, false)?;
            return Recipe::forget(self.dir);
        };
        let engine = self.engine()?;
        image::have(&engine, &container.image, &mut |_| true)?;
        let address = address::known();
        let published = address.filter(|_| !self.service.ports.is_empty());
        if let Some(address) = published {
            address::keep(address).map_err(|error| format!("cannot write: {error}"))?;
            if !address::is_here_within(address, ADDRESS_WITHIN) {
                return Err(format!("this machine does not have the tunnel's address {address}"));
            }
        }
        let home = state::home().ok_or("this login has no home")?;
        let all = self.desired.services.iter().filter(|(_, service)| !service.ports.is_empty());
        let is_its = |port: u16| self.service.ports.iter().any(|its| its.published == port);
        let place = Place {
            workspace: &self.desired.workspace,
            service: self.name,
            name: self.desired.unit_name(self.name),
            home: &home,
            address,
            published: all.map(|(name, _)| name.as_str()).collect(),
            urls: mapped::variables(is_its),
        };
        let env = self.desired.env_of(self.service);
        let recipe = Recipe::of(engine, &place, self.service, container, &env)?;
        recipe.env_file()?;
        is_free(&recipe)?;
        recipe.save(self.dir)
    }
}

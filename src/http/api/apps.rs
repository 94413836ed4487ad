//! Apps, and what is changed of them: names, layout, buildpacks, config vars.

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::{ApiError, Call, buildpacks};
use crate::app::AppName;
use crate::platform::ledger::App;
use crate::platform::resources;

impl Call<'_> {
    pub(super) fn apps(&self) -> Result<Value> {
        let apps = self.server.platform.ledger.apps()?;
        let seen = apps.iter().filter(|app| self.token.scope.sees(&app.id));
        Ok(seen.map(|app| self.show_app(app)).collect())
    }

    pub(super) fn show_app(&self, app: &App) -> Value {
        let web_url = self.server.platform.web_url(app.name.as_str());
        resources::app(&self.site(), app, None, &web_url)
    }

    pub(super) fn create_app(&self) -> Result<Value> {
        let missing = ApiError::Field {
            field: "name",
            expected: "an app name",
        };
        let name = self.text("name")?.ok_or(missing)?.parse::<AppName>()?;
        let format = self.text("object_format")?.map(str::parse).transpose()?;
        let format = format.unwrap_or_default();
        let platform = &self.server.platform;
        let app = platform.create_app(&name, format, &self.token.name)?;
        Ok(self.show_app(&app))
    }

    /// `build_stack`, and our own fields: `build_dir`, `root` and `stack_env`.
    pub(super) fn change_app(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        if self
            .text("name")?
            .is_some_and(|name| name != app.name.as_str())
        {
            return Err(ApiError::Fixed { field: "name" }.into());
        }
        let mut layout = app.layout.clone();
        if let Some(text) = self.text("build_dir")? {
            layout.build_dir = text.parse()?;
        }
        match &self.body["root"] {
            Value::Null if self.body.get("root").is_none() => {}
            Value::Null => layout.root = None,
            _ => layout.root = self.text("root")?.map(str::parse).transpose()?,
        }
        let stack = |field| -> Result<_> { Ok(self.text(field)?.map(str::parse).transpose()?) };
        if self.body.get("build_stack").is_some() {
            let found = self
                .server
                .platform
                .stacks
                .find(stack("build_stack")?.as_ref())?;
            layout.stack = found.image.map(|_| found.name);
        }
        if self.body.get("stack_env").is_some() {
            layout.stack_env = stack("stack_env")?;
        }
        let platform = &self.server.platform;
        platform.ledger.set_layout(&app.id, &layout)?;
        let switch = |field, now| match &self.body[field] {
            Value::Null => Ok(now),
            value => value.as_bool().ok_or(ApiError::Field {
                field,
                expected: "true or false",
            }),
        };
        let maintenance = switch("maintenance", app.maintenance)?;
        let rollback = switch("rollback_on_crash", app.rollback_on_crash)?;
        let app = platform
            .ledger
            .set_switches(&app.id, maintenance, rollback)?;
        platform.set_maintenance(&app);
        Ok(self.show_app(&app))
    }

    pub(super) fn purge_cache(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        self.server.platform.purge_cache(&app)?;
        Ok(json!({ "app": { "id": app.id, "name": app.name } }))
    }

    pub(super) fn buildpacks(&self, app: &str) -> Result<Value> {
        let list = self.server.platform.ledger.buildpacks(&self.app(app)?.id)?;
        Ok(resources::buildpack_installations(&list))
    }

    pub(super) fn set_buildpacks(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let updates = self.body.get("updates").ok_or(ApiError::Field {
            field: "updates",
            expected: "a list",
        })?;
        let list = buildpacks(updates, "updates")?;
        let ledger = &self.server.platform.ledger;
        ledger.set_buildpacks(&app.id, &list)?;
        Ok(resources::buildpack_installations(&list))
    }

    pub(super) fn destroy_app(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let shown = self.show_app(&app);
        self.server.platform.destroy_app(&app)?;
        Ok(shown)
    }

    pub(super) fn config(&self, app: &str) -> Result<Value> {
        let config = self.server.platform.ledger.config(&self.app(app)?.id)?;
        Ok(resources::config_vars(&config))
    }

    pub(super) fn change_config(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let fields = self
            .body
            .as_object()
            .ok_or_else(|| anyhow!("the body was checked to be an object"))?;
        let change = |(name, value): (&String, &Value)| match value {
            Value::Null => Ok((name.clone(), None)),
            Value::String(text) => Ok((name.clone(), Some(text.clone()))),
            _ => Err(ApiError::Field {
                field: "of a config var",
                expected: "a text or null",
            }),
        };
        let changes = fields.iter().map(change).collect::<Result<Vec<_>, _>>()?;
        let platform = &self.server.platform;
        let user = &self.token.name;
        if let Some(release) = platform.ledger.set_config(&app.id, &changes, user)? {
            platform.run_release(&app, &release);
        }
        let config = platform.ledger.config(&app.id)?;
        Ok(resources::config_vars(&config))
    }

    /// Whoever may change one app may change it alone: its owner.
    pub(super) fn collaborators(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        Ok(json!([resources::owner(&self.site(), &app)]))
    }

    /// The machine's own stack and those that were imported.
    pub(super) fn stacks(&self) -> Result<Value> {
        let stacks = &self.server.platform.stacks;
        let mut all = vec![stacks.host().to_string()];
        let imported = stacks.list()?;
        all.extend(imported.iter().map(|stack| stack.name.to_string()));
        all.dedup();
        let shown = all
            .iter()
            .map(|name| resources::stack(name, stacks.host().as_str()));
        Ok(shown.collect())
    }

    pub(super) fn signed_pushes(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let pushes = self.server.platform.ledger.signed_pushes(&app.id)?;
        Ok(pushes.iter().map(resources::signed_push).collect())
    }
}

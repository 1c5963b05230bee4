//! How users are shown: columns for people, JSON for programs. Hashes and seeds are not.

use std::io::Write;

use serde_json::{Value, json};

use crate::cli::table::{day, json_line, moment, write_table};
use crate::store::{Credentials, UserRecord};

pub(super) fn user_json(user: &UserRecord, credentials: Option<&Credentials>) -> Value {
    let mut shown = json!({
        "id": user.id.as_str(),
        "number": user.number,
        "login": user.login.as_str(),
        "state": user.state.as_str(),
        "attributes": user.attributes,
        "permissions": user.permissions,
        "created_at": moment(Some(user.created_at)),
        "password_changed_at": user.password_changed_at.map(|at| moment(Some(at))),
        "second_factor": user.has_totp,
        "password_count": user.password_count,
    });
    if let (Some(credentials), Some(members)) = (credentials, shown.as_object_mut()) {
        let passwords = credentials.passwords.iter().map(|password| {
            json!({"number": password.number, "created_at": moment(Some(password.created_at))})
        });
        members.insert("passwords".to_owned(), passwords.collect());
        let left = credentials.totp.as_ref().map(|totp| totp.recovery_codes);
        members.insert("recovery_codes".to_owned(), json!(left));
    }
    shown
}

pub(super) fn write_users(out: &mut dyn Write, users: &[UserRecord]) -> anyhow::Result<()> {
    let rows = users.iter().map(|user| {
        vec![
            user.id.to_string(),
            user.login.to_string(),
            user.state.as_str().to_owned(),
            user.password_count.to_string(),
            second_factor(user).to_owned(),
            day(Some(user.created_at)),
        ]
    });
    write_table(out, &["ID", "LOGIN", "STATE", "PASSWORDS", "SECOND FACTOR", "CREATED"], rows)
}

pub(super) fn write_user(out: &mut dyn Write, credentials: &Credentials) -> anyhow::Result<()> {
    let user = &credentials.user;
    writeln!(out, "id             {}", user.id)?;
    writeln!(out, "number         {}", user.number)?;
    writeln!(out, "login          {}", user.login)?;
    writeln!(out, "state          {}", user.state.as_str())?;
    writeln!(out, "second factor  {}", second_factor(user))?;
    if let Some(totp) = credentials.totp.as_ref().filter(|totp| totp.confirmed) {
        writeln!(out, "codes left     {}", totp.recovery_codes)?;
    }
    writeln!(out, "created        {}", moment(Some(user.created_at)))?;
    writeln!(out, "attributes     {}", json_line(&Value::Object(user.attributes.clone())))?;
    writeln!(out, "permissions    {}", json_line(&user.permissions))?;
    writeln!(out)?;
    let rows = credentials
        .passwords
        .iter()
        .map(|password| vec![password.number.to_string(), moment(Some(password.created_at))]);
    write_table(out, &["PASSWORD", "CREATED"], rows)
}

const fn second_factor(user: &UserRecord) -> &'static str {
    if user.has_totp { "yes" } else { "no" }
}

//! Tokens and API keys: drawn here, told once, kept as digests.

use std::sync::Arc;

use acp_base::{Failure, to_hex};
use acp_core_membership::{Command, Digest, NewKey, NewToken};
use acp_io_daemon::{Call, new_uid, wall_now};
use acp_io_pki::random;
use acp_wire_api::{Empty, hub as api};

use super::App;
use crate::error::pki_failure;

/// How long a token counts whose maker does not say.
const TOKEN_LIFETIME_MS: u64 = 60 * 60 * 1_000;

/// How many bytes of a secret are drawn: 256 bits, which nobody guesses and which need no slow hash.
const SECRET_BYTES: usize = 32;

/// The hexadecimal digits of a new secret.
fn secret() -> Result<String, Failure> {
    Ok(to_hex(&random::<SECRET_BYTES>().map_err(|error| pki_failure(&error))?))
}

pub(super) async fn create_token(
    app: Arc<App>,
    call: Call<api::CreateToken>,
) -> Result<api::CreateTokenReply, Failure> {
    let (uid, secret) = (new_uid(), secret()?);
    let command = Command::CreateToken(NewToken {
        uid,
        digest: Digest::of(secret.as_bytes()),
        lifetime_ms: call.request.lifetime_ms.unwrap_or(TOKEN_LIFETIME_MS),
        uses: call.request.uses.unwrap_or(1),
        no_root_key: call.request.no_root_key,
    });
    let snapshot = app.command(command, &call.caller, &call.context).await?;
    let token = snapshot.state.token(uid).ok_or_else(|| Failure::internal("the new token is not there"))?;
    Ok(api::CreateTokenReply { token, text: format!("acpt.{}.{secret}", snapshot.authority()?.fingerprint()) })
}

pub(super) async fn list_tokens(app: Arc<App>, _call: Call<api::ListTokens>) -> Result<api::ListTokensReply, Failure> {
    let snapshot = app.snapshot();
    snapshot.directory()?;
    Ok(api::ListTokensReply { tokens: snapshot.state.tokens(wall_now().0) })
}

pub(super) async fn revoke_token(app: Arc<App>, call: Call<api::RevokeToken>) -> Result<Empty, Failure> {
    app.command(Command::RevokeToken { uid: call.request.uid }, &call.caller, &call.context)
        .await
        .map(|_snapshot| Empty {})
}

pub(super) async fn create_key(app: Arc<App>, call: Call<api::CreateKey>) -> Result<api::CreateKeyReply, Failure> {
    let secret = format!("acpk.{}", secret()?);
    let api::CreateKeyRequest { name, scope, lifetime_ms } = call.request;
    let uid = new_uid();
    let command = Command::CreateKey(NewKey { uid, name, digest: Digest::of(secret.as_bytes()), scope, lifetime_ms });
    let snapshot = app.command(command, &call.caller, &call.context).await?;
    let key = snapshot.directory()?.keys.iter().find(|key| key.uid == uid).cloned();
    Ok(api::CreateKeyReply { key: key.ok_or_else(|| Failure::internal("the new key is not there"))?, secret })
}

pub(super) async fn list_keys(app: Arc<App>, _call: Call<api::ListKeys>) -> Result<api::ListKeysReply, Failure> {
    Ok(api::ListKeysReply { keys: app.snapshot().directory()?.keys.clone() })
}

pub(super) async fn revoke_key(app: Arc<App>, call: Call<api::RevokeKey>) -> Result<Empty, Failure> {
    app.command(Command::RevokeKey { name: call.request.name }, &call.caller, &call.context)
        .await
        .map(|_snapshot| Empty {})
}

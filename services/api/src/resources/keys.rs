//! API keys and tokens. Secrets are shown once, in the answer to what made them.

use acp_base::Failure;
use acp_wire_api::{
    Empty,
    hub::{
        CreateKey, CreateKeyReply, CreateKeyRequest, CreateToken, CreateTokenReply, CreateTokenRequest, Key,
        KeyRequest, ListKeys, ListTokens, RevokeKey, RevokeToken, Token, TokenRequest,
    },
};

use crate::{
    answer::{Created, Done, Found, List},
    call::Call,
    operation::Operation,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/keys", "listKeys", "Lists the API keys, without their secrets.", list_keys)
            .paged()
            .calls::<ListKeys>(),
        Operation::post(
            "/keys",
            "createKey",
            "Makes an API key; its secret is in the answer and nowhere else.",
            create_key,
        )
        .secret()
        .calls::<CreateKey>(),
        Operation::delete("/keys/{key}", "revokeKey", "Ends an API key.", revoke_key).calls::<RevokeKey>(),
        Operation::get(
            "/tokens",
            "listTokens",
            "Lists the tokens that still count, without their secrets.",
            list_tokens,
        )
        .paged()
        .calls::<ListTokens>(),
        Operation::post("/tokens", "createToken", "Makes a token with which nodes can join.", create_token)
            .secret()
            .calls::<CreateToken>(),
        Operation::delete("/tokens/{uid}", "revokeToken", "Ends a token.", revoke_token).calls::<RevokeToken>(),
    ]
}

async fn list_keys(call: Call) -> Result<Found<List<Key>>, Failure> {
    let keys = call.ask::<ListKeys>(Empty {}).await?.keys;
    Ok(Found(List::part(&call, keys, |key| key.name.to_string())?))
}

async fn create_key(call: Call, request: CreateKeyRequest) -> Result<Created<CreateKeyReply>, Failure> {
    let href = call.href("/keys");
    Ok(Created(href, call.ask::<CreateKey>(request).await?))
}

async fn revoke_key(call: Call) -> Result<Done, Failure> {
    call.ask::<RevokeKey>(KeyRequest { name: call.path("key")? }).await?;
    Ok(Done)
}

async fn list_tokens(call: Call) -> Result<Found<List<Token>>, Failure> {
    let tokens = call.ask::<ListTokens>(Empty {}).await?.tokens;
    Ok(Found(List::part(&call, tokens, |token| token.uid.to_string())?))
}

async fn create_token(call: Call, request: CreateTokenRequest) -> Result<Created<CreateTokenReply>, Failure> {
    let href = call.href("/tokens");
    Ok(Created(href, call.ask::<CreateToken>(request).await?))
}

async fn revoke_token(call: Call) -> Result<Done, Failure> {
    call.ask::<RevokeToken>(TokenRequest { uid: call.path("uid")? }).await?;
    Ok(Done)
}

//! `acpctl lease`.

use acp_base::Failure;

use crate::{
    output::{Column, Style, to_value},
    session::Session,
};

const COLUMNS: &[Column] = &[
    Column("SYSTEM", "/name", Style::Plain),
    Column("NODE", "/node", Style::Plain),
    Column("TERM", "/term", Style::Plain),
    Column("INDEX", "/index", Style::Plain),
    Column("ID", "/system", Style::Plain),
];

pub(super) async fn list(session: &mut Session) -> Result<u8, Failure> {
    let leases = session.acp().systems().leases().await?;
    let rows = leases.iter().map(to_value).collect::<Result<Vec<_>, _>>()?;
    session.out.list(&rows, COLUMNS)?;
    Ok(crate::DONE)
}

//! What an interface and a method are, and the macro that declares them.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zlink::{idl, introspect::Type};

/// How a method answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// One reply.
    Once,
    /// Any number of replies when called with `more`; called without, the first one alone.
    Stream,
    /// One reply, then the connection carries raw bytes both ways (`upgrade`).
    Upgrade,
}

/// What a caller must be allowed to do. Local root has every scope (policy `local-root-is-admin`), a member of the socket's
/// group has [`Scope::Read`] (policy `local-group-reads`); an API key has the scope it was made with and those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Scope {
    /// Looks, changes nothing.
    Read,
    /// Changes power states and uses consoles.
    Operate,
    /// Changes specs, volumes and images.
    Write,
    /// Changes the node itself.
    Admin,
    /// For those that a method names, only. No key has it.
    Internal,
}

/// Who may call a method: whoever has the scope, and the named callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The scope a person or key needs.
    pub scope: Scope,
    /// Who may call it whatever their scope: daemons of this node by noun, and of principals without a key `node` (any
    /// member), `renewal` and `newcomer`.
    pub callers: &'static [&'static str],
}

/// A method of an interface, as a type: ties the name to its request and reply for callers and for handlers.
pub trait Method: Send + Sync + 'static {
    /// The interface it belongs to, like `acp.cluster`.
    const INTERFACE: &'static str;
    /// The full name, like `acp.cluster.Get`.
    const NAME: &'static str;
    /// How it answers.
    const FLAVOR: Flavor;
    /// Who may call it.
    const ACCESS: Access;
    /// The parameters of the call.
    type Request: Serialize + DeserializeOwned + Type + Send + Sync + std::fmt::Debug + 'static;
    /// The parameters of a reply.
    type Reply: Serialize + DeserializeOwned + Type + Send + Sync + std::fmt::Debug + 'static;
}

/// A request or a reply without parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// A method as data.
#[derive(Clone, Copy, Debug)]
pub struct MethodDescription {
    /// The full name.
    pub name: &'static str,
    /// How it answers.
    pub flavor: Flavor,
    /// Who may call it.
    pub access: Access,
    /// What it does.
    pub doc: &'static [&'static str],
    /// Whether a text is a request of it, as a daemon would read it.
    pub reads: fn(&str) -> serde_json::Result<()>,
    input: &'static idl::Type<'static>,
    output: &'static idl::Type<'static>,
}

impl MethodDescription {
    /// The description of `M`.
    pub const fn of<M: Method>(doc: &'static [&'static str]) -> Self {
        Self {
            name: M::NAME,
            flavor: M::FLAVOR,
            access: M::ACCESS,
            doc,
            reads: |text| serde_json::from_str::<M::Request>(text).map(drop),
            input: <M::Request as Type>::TYPE,
            output: <M::Reply as Type>::TYPE,
        }
    }

    /// The name without its interface.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    fn to_idl(self) -> idl::Method<'static> {
        let comments = self.doc.iter().map(|line| idl::Comment::new(line.trim())).collect();
        idl::Method::new_owned(self.short_name(), fields(self.input), fields(self.output), comments)
            .expect("method names are checked by a test")
    }
}

fn fields(ty: &'static idl::Type<'static>) -> Vec<idl::Parameter<'static>> {
    match ty {
        idl::Type::Object(fields) => fields.iter().cloned().collect(),
        other => panic!("requests and replies are structs, not {other}"),
    }
}

/// An interface as data.
#[derive(Clone, Debug)]
pub struct Interface {
    /// The name, like `acp.cluster`.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static [&'static str],
    /// Its methods in the order of declaration.
    pub methods: Vec<MethodDescription>,
    /// Its errors; only `acp.error` has any.
    pub errors: Vec<idl::Error<'static>>,
}

impl Interface {
    /// The interface in Varlink's definition language.
    pub fn to_idl(&self) -> String {
        let comments = self.doc.iter().map(|line| idl::Comment::new(line.trim())).collect();
        let methods = self.methods.iter().map(|method| method.to_idl()).collect();
        let interface = idl::Interface::new_owned(self.name, methods, Vec::new(), self.errors.clone(), comments);
        format!("{}\n", interface.expect("interface names are checked by a test"))
    }
}

/// Declares an interface: its methods as types implementing [`Method`], and `interface()` that describes it.
macro_rules! interface {
    (
        $(#[doc = $interface_doc:expr])*
        $interface:literal;
        $(
            $(#[doc = $doc:expr])*
            $flavor:ident $method:ident($request:ty) -> $reply:ty, $scope:ident, [$($caller:literal),*];
        )*
    ) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $method;

            impl $crate::Method for $method {
                const INTERFACE: &'static str = $interface;
                const NAME: &'static str = concat!($interface, ".", stringify!($method));
                const FLAVOR: $crate::Flavor = $crate::Flavor::$flavor;
                const ACCESS: $crate::Access =
                    $crate::Access { scope: $crate::Scope::$scope, callers: &[$($caller),*] };
                type Request = $request;
                type Reply = $reply;
            }
        )*

        /// This interface as data.
        pub fn interface() -> $crate::Interface {
            $crate::Interface {
                name: $interface,
                doc: &[$($interface_doc),*],
                methods: vec![$($crate::MethodDescription::of::<$method>(&[$($doc),*])),*],
                errors: Vec::new(),
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_interface_renders_and_names_are_unique() {
        let mut seen = BTreeSet::new();
        for interface in crate::all() {
            let text = interface.to_idl();
            assert!(text.contains(&format!("interface {}", interface.name)), "{text}");
            for method in &interface.methods {
                assert!(seen.insert(method.name), "{} is declared twice", method.name);
                assert!(!method.doc.is_empty(), "{} says nothing about itself", method.name);
            }
        }
    }
}

//! `globals.auth`: who may see what. Not known to MapProxy 7.0.0.

use super::reader::{FromNode, Reader, Table, Text, record};
use super::{Coverage, TextOrList};
use crate::position::Spanned;
use crate::yaml::{Node, Value};

record! {
    /// `globals.auth`.
    pub struct Auth; closed true; {
        endpoint: AuthEndpoint,
        api_keys: AuthKeys,
        jwt: AuthJwt,
        anonymous: AuthGrant,
    }
}

record! {
    /// `globals.auth.endpoint`.
    pub struct AuthEndpoint; closed true; {
        url: Text [required],
        method: Text,
        headers: Vec<Spanned<Text>>,
        /// In seconds.
        timeout: f64,
        /// In seconds.
        cache: f64,
        extent: bool,
    }
}

record! {
    /// `globals.auth.api_keys`.
    pub struct AuthKeys; closed true; {
        header: Text,
        in_addresses: bool,
        keys: Vec<Spanned<AuthKey>> [required],
    }
}

record! {
    /// An API key.
    pub struct AuthKey with grant: AuthGrantOptions; closed true; {
        name: Text,
        sha256: Text [required],
    }
}

record! {
    /// `globals.auth.jwt`.
    pub struct AuthJwt; closed true; {
        jwks: Text,
        secret_file: Text,
        algorithms: Vec<Spanned<Text>> [required],
        issuer: TextOrList,
        audience: TextOrList,
        /// In seconds.
        leeway: f64,
        /// In seconds.
        refresh: f64,
        claim: Text,
        layers_claim: Text,
        grant: AuthGrant,
    }
}

/// What somebody may see: a word, or options.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthGrant {
    /// `full`, `none` or `unauthenticated`.
    Word(Text),
    /// `layers` and the like.
    Options(Box<AuthGrantOptions>),
}

impl FromNode for AuthGrant {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::String(word) => Some(Self::Word(word.clone())),
            Value::Mapping(_) => FromNode::from_node(node, reader).map(Box::new).map(Self::Options),
            _ => reader.mismatch_any(node, "str, dict"),
        }
    }
}

record! {
    /// What somebody may see.
    pub struct AuthGrantOptions; closed true; {
        authorized: Text,
        layers: AuthLayers,
        limited_to: Coverage,
    }
}

/// Names of layers, or what may be done with each of them.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthLayers {
    /// `[a, b]`
    List(Vec<Spanned<Text>>),
    /// `{a: {map: true}}`
    Table(Table<AuthLayer>),
}

impl FromNode for AuthLayers {
    fn from_node<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Self> {
        match &node.value {
            Value::Sequence(_) => FromNode::from_node(node, reader).map(Self::List),
            Value::Mapping(_) => FromNode::from_node(node, reader).map(Self::Table),
            _ => reader.mismatch_any(node, "list, dict"),
        }
    }
}

record! {
    /// What may be done with a layer.
    pub struct AuthLayer; closed true; {
        map: bool,
        tile: bool,
        featureinfo: bool,
        legendgraphic: bool,
        limited_to: Coverage,
    }
}

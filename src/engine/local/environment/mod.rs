//! stub
use std::path::{Path,PathBuf};
use crate::{stack::Runtime, error::Failure};
#[derive(Debug,Clone)] pub struct Environment { pub path_prefix: Vec<PathBuf>, pub variables: Vec<(String,String)>, pub key: String }
#[derive(Clone)] pub struct Recipe;
impl Recipe { pub fn key(&self)->&str{"x"} pub fn title(&self)->String{"python".into()} pub fn is_prepared(&self)->bool{true}
 pub fn environment(&self)->Environment{Environment{path_prefix:vec!["/tmp/venvstub/bin".into()],variables:vec![],key:"x".into()}}
 pub fn build(&self,_:&dyn Fn(String))->Result<Environment,Failure>{Ok(self.environment())} }
pub fn recipe(r: Runtime,_:&Path)->Result<Option<Recipe>,Failure>{ Ok(if r==Runtime::Python {Some(Recipe)} else {None}) }

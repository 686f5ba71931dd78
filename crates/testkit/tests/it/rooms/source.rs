//! Which modules of its own crate a source names: in `use` trees, and in the paths of its code, its attributes and what
//! it gives to macros.

use std::collections::HashMap;

use syn::{
    Attribute, File, Item, ItemMod, ItemUse, Lit, Macro, Meta, Path, UseTree, Visibility,
    buffer::{Cursor, TokenBuffer},
    visit::{self, Visit},
};

/// A path as segments, such as `crate`, `people`, `By`; from the root of the crate it has no `crate`.
pub type Segments = Vec<String>;

/// Stands for all that a module offers.
pub const GLOB: &str = "*";

/// All that `text`, which is the module `module`, names of its own crate, whose root has the modules `rooms`. Each is
/// told from the root, whichever way the source spells it.
pub fn named(text: &str, module: &[String], rooms: &[&str]) -> Vec<Segments> {
    named_in(&syn::parse_file(text).unwrap(), module, rooms)
}

/// The same, without what its unit tests name.
pub fn named_outside_of_tests(text: &str, module: &[String], rooms: &[&str]) -> Vec<Segments> {
    let mut file = syn::parse_file(text).unwrap();
    file.items.retain(|item| !matches!(item, Item::Mod(module) if module.ident == "tests"));
    named_in(&file, module, rooms)
}

fn named_in(file: &File, module: &[String], rooms: &[&str]) -> Vec<Segments> {
    let mut reader = Reader { module: module.to_vec(), uses: Vec::new(), paths: Vec::new() };
    reader.visit_file(file);
    let names = Names::of(&reader.uses, module, rooms);
    let used = reader.uses.iter().map(|import| (&import.module, &import.path));
    let written = reader.paths.iter().map(|(module, path)| (module, path));
    used.chain(written).filter_map(|(module, path)| names.absolute(module, path)).collect()
}

/// The modules that a `mod.rs` declares, and the names that it offers: those that it brings from elsewhere, and the modules
/// that it makes public as a whole.
pub fn declared(text: &str) -> (Vec<String>, Vec<String>) {
    let file = syn::parse_file(text).unwrap();
    let (mut modules, mut offered) = (Vec::new(), Vec::new());
    for item in &file.items {
        let Item::Mod(module) = item else { continue };
        modules.push(module.ident.to_string());
        if matches!(module.vis, Visibility::Public(_)) {
            offered.push(module.ident.to_string());
        }
    }
    let mut reader = Reader { module: Vec::new(), uses: Vec::new(), paths: Vec::new() };
    reader.visit_file(&file);
    offered.extend(reader.uses.into_iter().filter_map(|import| import.name));
    (modules, offered)
}

/// One leaf of a `use` tree.
struct Import {
    module: Segments,
    path: Segments,
    /// What it is called here.
    name: Option<String>,
}

/// Collects what is written, as it is written.
struct Reader {
    module: Segments,
    uses: Vec<Import>,
    paths: Vec<(Segments, Segments)>,
}

impl Reader {
    fn import(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| [before, &[name]].concat();
        let (path, name) = match tree {
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.import(tree, before)),
            UseTree::Path(path) => return self.import(&path.tree, &with(path.ident.to_string())),
            UseTree::Glob(_) => (with(GLOB.to_owned()), None),
            UseTree::Name(name) if name.ident == "self" => (before.to_vec(), before.last().cloned()),
            UseTree::Name(name) => (with(name.ident.to_string()), Some(name.ident.to_string())),
            UseTree::Rename(rename) if rename.ident == "self" => {
                (before.to_vec(), Some(rename.rename.to_string()))
            }
            UseTree::Rename(rename) => (with(rename.ident.to_string()), Some(rename.rename.to_string())),
        };
        self.uses.push(Import { module: self.module.clone(), path, name });
    }

    /// The paths among tokens that are no syntax yet. Strings count, since attributes hold paths in them.
    fn tokens(&mut self, mut cursor: Cursor<'_>, before: &[String]) {
        while !cursor.eof() {
            if let Some((ident, rest)) = cursor.ident() {
                cursor = self.path(rest, [before, &[ident.to_string()]].concat());
            } else if let Some((inner, _, _, rest)) = cursor.any_group() {
                self.tokens(inner, &[]);
                cursor = rest;
            } else if let Some((literal, rest)) = cursor.literal() {
                if let Lit::Str(text) = Lit::new(literal)
                    && let Ok(path) = text.parse()
                {
                    self.visit_path(&path);
                }
                cursor = rest;
            } else if let Some((_, rest)) = cursor.token_tree() {
                cursor = rest;
            }
        }
    }

    /// The rest of a path that begins with `path`; returns what is behind it.
    fn path<'a>(&mut self, mut cursor: Cursor<'a>, mut path: Segments) -> Cursor<'a> {
        while let Some(rest) = colons(cursor) {
            cursor = rest;
            if let Some((ident, rest)) = cursor.ident() {
                path.push(ident.to_string());
                cursor = rest;
            } else if let Some((inner, _, _, rest)) = cursor.any_group() {
                self.tokens(inner, &path);
                cursor = rest;
            }
        }
        self.paths.push((self.module.clone(), path));
        cursor
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.import(&item.tree, &[]);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.paths.push((self.module.clone(), segments));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.visit_path(&called.path);
        self.tokens(TokenBuffer::new2(called.tokens.clone()).begin(), &[]);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.tokens(TokenBuffer::new2(list.tokens.clone()).begin(), &[]);
        }
    }
}

fn colons(cursor: Cursor<'_>) -> Option<Cursor<'_>> {
    let (first, rest) = cursor.punct()?;
    let (second, rest) = rest.punct()?;
    (first.as_char() == ':' && second.as_char() == ':').then_some(rest)
}

/// What the names of a source mean, from the root of the crate; `None`: of another crate.
struct Names(HashMap<String, Option<Segments>>);

impl Names {
    fn of(uses: &[Import], module: &[String], rooms: &[&str]) -> Self {
        let own = |room: &&str| ((*room).to_owned(), Some(vec![(*room).to_owned()]));
        let everything = || rooms.iter().map(own);
        // Only the root sees the rooms by their bare names, unless it is imported as a whole.
        let mut names = Self(if module.is_empty() { everything().collect() } else { HashMap::new() });
        // An import may go by a name that another one brings: `use crate::people; use people::By;`.
        for _ in 0..uses.len().min(3) {
            for import in uses {
                let path = names.absolute(&import.module, &import.path);
                match &import.name {
                    Some(name) => drop(names.0.insert(name.clone(), path)),
                    None if path.is_some_and(|path| path == [GLOB]) => names.0.extend(everything()),
                    None => {}
                }
            }
        }
        names
    }

    fn absolute(&self, module: &[String], path: &[String]) -> Option<Segments> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => upwards(module, rest),
            "super" => upwards(module, path),
            name => Some([self.0.get(name)?.as_deref()?, rest].concat()),
        }
    }
}

/// `path` from `module`, where each `super` goes up by one.
fn upwards(module: &[String], path: &[String]) -> Option<Segments> {
    let supers = path.iter().take_while(|segment| *segment == "super").count();
    let up = module.len().checked_sub(supers)?;
    Some([&module[..up], &path[supers..]].concat())
}

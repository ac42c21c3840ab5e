//! `scalectl new`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use comfy_table::{ContentArrangement, Table, presets};
use dialoguer::{Input, MultiSelect, Select};
use serde_json::json;

use super::Global;
use super::interrupt::Interrupt;
use super::stdout;
use crate::error::{Exit, Failure};
use crate::scaffold::{self, Choice, DEFAULT_TEMPLATE, Existing, Mode, RenderedFile, ScaffoldError, Template};
use crate::units::Name;

/// Arguments of `scalectl new`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  scalectl new shop                            ask on a terminal, take the defaults in a script
  scalectl new shop --with postgres,redis      exactly these optional parts
  scalectl new shop --template ./my-template   a template folder of your own
  scalectl new . --defaults                    into this folder, named after it")]
pub struct Args {
    /// Name of the project, or `.` for this folder and its name
    name: Option<String>,
    /// Template: a name from --list, or the path of a folder of your own
    #[arg(short, long, value_name = "NAME|PATH", env = "SCALECTL_NEW_TEMPLATE")]
    template: Option<String>,
    /// Exactly these optional parts; `none` for no part at all
    #[arg(long, value_name = "FEATURE,…", value_delimiter = ',', env = "SCALECTL_NEW_WITH")]
    with: Option<Vec<String>>,
    /// The default parts without these
    #[arg(
        long,
        value_name = "FEATURE,…",
        value_delimiter = ',',
        conflicts_with = "with",
        env = "SCALECTL_NEW_WITHOUT"
    )]
    without: Option<Vec<String>>,
    /// List the templates and their optional parts
    #[arg(long, conflicts_with_all = ["name", "dry_run", "force", "output", "with", "without"])]
    list: bool,
    /// List the files that would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Ask nothing
    #[arg(long, env = "SCALECTL_NEW_DEFAULTS", value_parser = clap::builder::FalseyValueParser::new())]
    defaults: bool,
    /// Write into a folder that is not empty: replace the template's files, keep all others and an existing .env
    #[arg(long)]
    force: bool,
    /// Folder to write to [default: ./NAME]
    #[arg(short, long, value_name = "DIR", env = "SCALECTL_NEW_OUTPUT")]
    output: Option<PathBuf>,
}

/// What is to be rendered, and where to.
struct Project {
    name: Name,
    template: Template,
    features: Vec<String>,
    /// As people would write it, for messages.
    shown: PathBuf,
    /// Absolute.
    target: PathBuf,
}

impl Args {
    /// Renders a template.
    ///
    /// # Errors
    ///
    /// When name, template or feature will not do, the folder is taken, or writing fails. Nothing is left behind then.
    pub fn run(self, global: &Global) -> Result<Exit> {
        if self.list {
            return list(self.template.as_deref(), global);
        }
        let interrupt = Interrupt::watch()?;
        let project = self.decide(global)?;
        let files = scaffold::render(&project.template, &project.name, &project.features).map_err(Failure::from)?;
        if self.dry_run {
            print_files(&project, &files, global)?;
            return Ok(Exit::Done);
        }
        let existing = if self.force { Existing::Overwrite } else { Existing::Refuse };
        scaffold::write(&files, &project.target, existing, interrupt.flag()).map_err(Failure::from)?;
        print_done(&project, &files, global)?;
        Ok(Exit::Done)
    }

    /// Flags, answers and defaults become one project.
    fn decide(&self, global: &Global) -> Result<Project> {
        let asks = self.asks(global);
        let template = match &self.template {
            Some(text) => open(text, &global.directory)?,
            None if asks => ask_template()?,
            None => scaffold::find(DEFAULT_TEMPLATE).map_err(Failure::from)?,
        };
        let name = match &self.name {
            Some(name) => name.clone(),
            None if asks => ask_name()?,
            None => return Err(Failure::usage("the project needs a name").hint("scalectl new my-shop").into()),
        };
        let (name, folder) = if name == "." {
            (name_of(&global.directory)?, PathBuf::from("."))
        } else {
            (name.clone(), PathBuf::from(name))
        };
        let name = scaffold::check_name(&name, &template.manifest).map_err(Failure::from)?;
        let choice = match (&self.with, &self.without) {
            (Some(with), _) => Choice::Exactly(with.clone()),
            (None, Some(without)) => Choice::Without(without.clone()),
            (None, None) if asks => ask_features(&template)?,
            (None, None) => Choice::Defaults,
        };
        let features = scaffold::choose(&template.manifest, &choice).map_err(Failure::from)?;
        let shown = global.directory.join(self.output.clone().unwrap_or(folder)).components().collect::<PathBuf>();
        let shown =
            shown.strip_prefix(".").ok().filter(|path| !path.as_os_str().is_empty()).unwrap_or(&shown).to_owned();
        let target = std::path::absolute(&shown).with_context(|| format!("cannot resolve {}", shown.display()))?;
        Ok(Project { name, template, features, shown, target })
    }

    /// Whether there is somebody to ask, and something left to ask.
    fn asks(&self, global: &Global) -> bool {
        let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        let open = self.template.is_none() && self.with.is_none() && self.without.is_none();
        terminal && open && !self.defaults && !global.json && !global.quiet
    }
}

/// A template by its name, or by its path if it looks like one.
fn open(text: &str, base: &Path) -> Result<Template> {
    let is_path = text.contains('/') || text.starts_with('.');
    let template = if is_path { Template::from_folder(&base.join(text)) } else { scaffold::find(text) };
    Ok(template.map_err(Failure::from)?)
}

fn name_of(folder: &Path) -> Result<String> {
    let path = folder.canonicalize().with_context(|| format!("cannot read {}", folder.display()))?;
    match path.file_name() {
        Some(name) => Ok(name.to_string_lossy().into_owned()),
        None => Err(Failure::usage("the root folder has no name").hint("scalectl new NAME --output .").into()),
    }
}

fn ask_template() -> Result<Template> {
    let mut templates = scaffold::all().map_err(Failure::from)?;
    let lines: Vec<String> =
        templates.iter().map(|t| format!("{:<10} {}", t.manifest.name, t.manifest.description)).collect();
    let default = templates.iter().position(|t| t.manifest.name.as_str() == DEFAULT_TEMPLATE).unwrap_or(0);
    let chosen = Select::new()
        .with_prompt("Template")
        .report(false)
        .items(&lines)
        .default(default)
        .interact()
        .map_err(answer)?;
    Ok(templates.swap_remove(chosen))
}

fn ask_name() -> Result<String> {
    let valid = |text: &String| text.parse::<Name>().map(|_| ()).map_err(|error| error.to_string());
    Ok(Input::new().with_prompt("Name of the project").validate_with(valid).interact_text().map_err(answer)?)
}

fn ask_features(template: &Template) -> Result<Choice> {
    let features = &template.manifest.features;
    if features.is_empty() {
        return Ok(Choice::Defaults);
    }
    let lines: Vec<(String, bool)> =
        features.iter().map(|f| (format!("{:<12} {}", f.name, f.description), f.default)).collect();
    let chosen = MultiSelect::new()
        .with_prompt("Optional parts (space chooses, enter goes on)")
        .report(false)
        .items_checked(lines)
        .interact()
        .map_err(answer)?;
    Ok(Choice::Exactly(chosen.into_iter().map(|index| features[index].name.clone()).collect()))
}

/// A question that was not answered: interrupted, or the terminal went away.
fn answer(error: dialoguer::Error) -> Failure {
    let dialoguer::Error::IO(error) = error;
    match error.kind() {
        io::ErrorKind::Interrupted => {
            // The question hid the cursor.
            let _ = dialoguer::console::Term::stderr().show_cursor();
            ScaffoldError::Interrupted.into()
        }
        _ => Failure::failed("cannot ask on this terminal").because(error.to_string()).hint("--defaults asks nothing"),
    }
}

fn list(template: Option<&str>, global: &Global) -> Result<Exit> {
    let templates = match template {
        Some(text) => vec![open(text, &global.directory)?],
        None => scaffold::all().map_err(Failure::from)?,
    };
    if global.json {
        let templates: Vec<_> = templates.iter().map(|template| describe(&template.manifest)).collect();
        stdout::print_json(&json!({ "schema": "scalectl.templates/1", "templates": templates }))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["TEMPLATE", "LANGUAGE", "DESCRIPTION"]);
    for template in &templates {
        let manifest = &template.manifest;
        table.add_row([manifest.name.as_str(), &manifest.language, &manifest.description]);
        for feature in &manifest.features {
            let mark = if feature.default { "+" } else { "-" };
            table.add_row([format!("  {mark} {}", feature.name), String::new(), format!("  {}", feature.description)]);
        }
    }
    stdout::print(format!("{}\n\n+ chosen unless --with or --without say otherwise, - not", table.trim_fmt()))?;
    Ok(Exit::Done)
}

fn describe(manifest: &scaffold::Manifest) -> serde_json::Value {
    let features: Vec<_> = manifest
        .features
        .iter()
        .map(|f| json!({ "name": f.name, "description": f.description, "default": f.default }))
        .collect();
    json!({
        "name": manifest.name.as_str(),
        "description": manifest.description,
        "language": manifest.language,
        "features": features,
    })
}

fn print_files(project: &Project, files: &[RenderedFile], global: &Global) -> Result<()> {
    if global.json {
        return stdout::print_json(&summary(project, files, true));
    }
    let line = |file: &RenderedFile| {
        let note = match file.mode {
            Mode::Plain => "",
            Mode::Executable => "  (executable)",
            Mode::Secret => "  (owner only)",
        };
        format!("{:>9}  {}{note}", file.bytes.len(), file.path.display())
    };
    stdout::print(files.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    if !global.quiet {
        anstream::eprintln!("Nothing was written: {} would be {}", project.shown.display(), size(files));
    }
    Ok(())
}

fn print_done(project: &Project, files: &[RenderedFile], global: &Global) -> Result<()> {
    if global.json {
        return stdout::print_json(&summary(project, files, false));
    }
    if global.quiet {
        return Ok(());
    }
    let parts = if project.features.is_empty() { "no optional part".to_owned() } else { project.features.join(", ") };
    anstream::eprintln!(
        "Created {} from template {} with {parts}: {}",
        project.shown.display(),
        project.template.manifest.name,
        size(files)
    );
    anstream::eprintln!("  {}", top_level(files).join("  "));
    anstream::eprintln!("\nNext:\n  {}", next(project));
    Ok(())
}

/// The commands that bring the new project up.
fn next(project: &Project) -> String {
    let here = std::env::current_dir().is_ok_and(|here| here == project.target);
    let folder = project.shown.to_string_lossy();
    if here { "scalectl up".to_owned() } else { format!("cd {} && scalectl up", shell_words::quote(&folder)) }
}

fn size(files: &[RenderedFile]) -> String {
    let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
    format!("{} files, {:.1} kB", files.len(), bytes as f64 / 1000.0)
}

/// What stands in the project's folder itself: folders first.
fn top_level(files: &[RenderedFile]) -> Vec<String> {
    let mut entries: Vec<(bool, String)> = files
        .iter()
        .filter_map(|file| {
            let mut parts = file.path.iter();
            let name = parts.next()?.to_string_lossy().into_owned();
            let is_file = parts.next().is_none();
            Some(if is_file { (true, name) } else { (false, format!("{name}/")) })
        })
        .collect();
    entries.sort();
    entries.dedup();
    entries.into_iter().map(|(_, name)| name).collect()
}

fn summary(project: &Project, files: &[RenderedFile], dry_run: bool) -> serde_json::Value {
    let files: Vec<_> = files
        .iter()
        .map(
            |file| json!({ "path": file.path, "bytes": file.bytes.len(), "mode": format!("{:04o}", file.mode.bits()) }),
        )
        .collect();
    json!({
        "schema": "scalectl.new/1",
        "project": project.name.as_str(),
        "template": project.template.manifest.name.as_str(),
        "with": project.features,
        "path": project.target,
        "written": !dry_run,
        "files": files,
        "next": next(project),
    })
}

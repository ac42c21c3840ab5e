//! The images that were built for a project: known by their labels, as everything else of it.

use std::collections::{BTreeSet, HashMap};

use bollard::Docker as Api;
use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptions};

use super::{fail, labels};
use crate::engine::{Identity, Note};
use crate::error::Failure;

/// The images that were built for a project, by their references; by their ids where a newer one took their reference.
///
/// # Errors
///
/// When the engine does not answer.
pub async fn built(api: &Api, identity: &Identity) -> Result<BTreeSet<String>, Failure> {
    let label = format!("{}={}", labels::PROJECT, identity.project);
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let options = ListImagesOptionsBuilder::new().filters(&filters).build();
    let listed = api.list_images(Some(options)).await.map_err(|e| fail::asking("which images it has", &e))?;
    // The same name from another folder is another project.
    let ours = listed.into_iter().filter(|image| labels::root(&image.labels).is_some_and(|root| root == identity.root));
    let named = ours.flat_map(|image| {
        let references: Vec<_> = image.repo_tags.into_iter().filter(|tag| !tag.starts_with("<none>")).collect();
        if references.is_empty() { vec![image.id] } else { references }
    });
    Ok(named.collect())
}

/// Removes an image; one that is gone is left alone, and so is one that somebody else uses.
///
/// # Errors
///
/// When the engine refuses.
pub async fn remove(api: &Api, image: &str, note: &dyn Fn(Note)) -> Result<(), Failure> {
    match api.remove_image(image, None::<RemoveImageOptions>, None).await {
        Ok(_) => Ok(()),
        Err(e) if fail::is_missing(&e) => Ok(()),
        Err(e) if fail::is_conflict(&e) => {
            note(Note::Warning(format!("image {image} stays: {}", fail::words(&e))));
            Ok(())
        }
        Err(e) => Err(fail::doing(&format!("remove image {image}"), &e)),
    }
}

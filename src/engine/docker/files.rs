//! Configuration and secrets of a container: put by archive, through a helper container that never starts, into a volume
//! that the container mounts read-only. A bind mount would not work on a remote engine, an environment variable would
//! show in `docker inspect`, and a read-only root refuses the archive.

use std::collections::{BTreeMap, HashMap};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptions, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt;

use super::fail;
use super::labels::{self, Role};
use super::spec::{Container, FILES};
use crate::backing::FileText;
use crate::engine::Identity;
use crate::error::Failure;
use crate::units::Name;

/// Only the owner reads a file.
const MODE: u32 = 0o400;

/// Makes sure that the volume with a container's files is there and complete.
///
/// # Errors
///
/// When the engine refuses, or the files' owner is not known in the image.
pub async fn provide(
    docker: &Docker,
    identity: &Identity,
    service: &Name,
    spec: &Container,
    volume: &str,
) -> Result<(), Failure> {
    // A volume that a container has is complete: its container is made after its files.
    if in_use(docker, volume).await? {
        return Ok(());
    }
    let helper = format!("{volume}-helper");
    remove_helper(docker, &helper).await?;
    create_helper(docker, identity, service, spec, volume, &helper).await?;
    let put = put(docker, &helper, spec).await;
    remove_helper(docker, &helper).await?;
    put
}

async fn in_use(docker: &Docker, volume: &str) -> Result<bool, Failure> {
    let filters = HashMap::from([("volume", vec![volume])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let users = docker.list_containers(Some(options)).await.map_err(|e| fail::asking("who uses a volume", &e))?;
    Ok(users.iter().filter_map(|c| c.labels.as_ref()).any(|of| Role::of(of) != Some(Role::Helper)))
}

async fn create_helper(
    docker: &Docker,
    identity: &Identity,
    service: &Name,
    spec: &Container,
    volume: &str,
    helper: &str,
) -> Result<(), Failure> {
    let mut of_volume = labels::of_role(identity, Role::Files);
    of_volume.insert(labels::SERVICE.to_owned(), service.to_string());
    // By a request of its own: Podman makes the volume of a mount without the mount's labels.
    let volume_request = VolumeCreateRequest {
        name: Some(volume.to_owned()),
        labels: Some(of_volume),
        ..VolumeCreateRequest::default()
    };
    let created = docker.create_volume(volume_request).await;
    created.map_err(|e| fail::doing(&format!("create volume {volume}"), &e))?;
    let options = MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() };
    let mount = Mount {
        target: Some(FILES.to_owned()),
        source: Some(volume.to_owned()),
        typ: Some(MountType::VOLUME),
        volume_options: Some(options),
        ..Mount::default()
    };
    let body = ContainerCreateBody {
        image: Some(spec.image.clone()),
        labels: Some(labels::of_role(identity, Role::Helper)),
        host_config: Some(HostConfig {
            mounts: Some(vec![mount]),
            network_mode: Some("none".to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let named = CreateContainerOptionsBuilder::new().name(helper).build();
    let created = docker.create_container(Some(named), body).await;
    created.map(drop).map_err(|e| fail::doing(&format!("put the files of {service} into a volume"), &e))
}

async fn put(docker: &Docker, helper: &str, spec: &Container) -> Result<(), Failure> {
    let (uid, gid) = owner(docker, helper, spec).await?;
    let archive = archive(&spec.files, uid, gid).map_err(|e| Failure::failed(format!("cannot pack files: {e}")))?;
    let options = UploadToContainerOptionsBuilder::new().path(FILES).build();
    docker
        .upload_to_container(helper, Some(options), bollard::body_full(archive.into()))
        .await
        .map_err(|e| fail::doing("put files into a volume", &e))
}

/// Files as a tar, readable by one user.
fn archive(files: &BTreeMap<String, FileText>, uid: u64, gid: u64) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut folders = std::collections::BTreeSet::new();
    for (name, file) in files {
        // A folder comes before what is in it, or it would be made with nobody to read it.
        for (at, _) in name.match_indices('/') {
            if folders.insert(&name[..at]) {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o500);
                header.set_uid(uid);
                header.set_gid(gid);
                header.set_size(0);
                tar.append_data(&mut header, &name[..at], std::io::empty())?;
            }
        }
        let mut header = tar::Header::new_gnu();
        header.set_mode(MODE);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_size(file.text.len() as u64);
        tar.append_data(&mut header, name, file.text.as_bytes())?;
    }
    tar.into_inner()
}

/// Who reads the files: the spec's owner or the image's user, as numbers; a name is looked up in the image.
async fn owner(docker: &Docker, helper: &str, spec: &Container) -> Result<(u64, u64), Failure> {
    let image =
        docker.inspect_image(&spec.image).await.map_err(|e| fail::asking(&format!("whose {} is", spec.image), &e))?;
    let of_image = image.config.and_then(|c| c.user).unwrap_or_default();
    let user = spec.owner.clone().unwrap_or(of_image);
    let (user, group) = user.split_once(':').map_or((user.as_str(), None), |(user, group)| (user, Some(group)));
    if user.is_empty() {
        return Ok((0, 0));
    }
    if let Ok(uid) = user.parse() {
        return Ok((uid, group.and_then(|group| group.parse().ok()).unwrap_or(uid)));
    }
    let passwd = read(docker, helper, "/etc/passwd").await?;
    look_up(&passwd, user).ok_or_else(|| {
        Failure::failed(format!("{} has no user {user}", spec.image))
            .because("its files have to belong to the user that reads them")
    })
}

/// The ids of a user in a passwd file.
fn look_up(passwd: &str, user: &str) -> Option<(u64, u64)> {
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.first() == Some(&user)).then(|| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))?
    })
}

/// The text of a file in a container, running or not.
///
/// # Errors
///
/// When it cannot be read.
pub async fn read(docker: &Docker, container: &str, path: &str) -> Result<String, Failure> {
    let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
    let mut stream = docker.download_from_container(container, Some(options));
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await {
        bytes.extend_from_slice(&part.map_err(|e| fail::doing(&format!("read {path}"), &e))?);
    }
    let failed = |e| Failure::failed(format!("cannot read {path}: {e}"));
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut text = String::new();
    for entry in archive.entries().map_err(failed)? {
        std::io::Read::read_to_string(&mut entry.map_err(failed)?, &mut text).map_err(failed)?;
    }
    Ok(text)
}

async fn remove_helper(docker: &Docker, helper: &str) -> Result<(), Failure> {
    // With the nameless volumes that its image asks for.
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(helper, Some(options)).await {
        Err(e) if !fail::is_missing(&e) && !fail::is_conflict(&e) => Err(fail::doing("remove a helper container", &e)),
        _ => Ok(()),
    }
}

/// Removes a volume with files, if nobody uses it any more.
///
/// # Errors
///
/// When the engine does not answer.
pub async fn remove_unused(docker: &Docker, volume: &str) -> Result<(), Failure> {
    match docker.remove_volume(volume, None::<RemoveVolumeOptions>).await {
        Err(e) if !fail::is_missing(&e) && !fail::is_conflict(&e) => {
            Err(fail::doing(&format!("remove volume {volume}"), &e))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_looked_up_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nredis:x:999:1000::/data:/bin/sh\n";
        assert_eq!(look_up(passwd, "redis"), Some((999, 1000)));
        assert_eq!(look_up(passwd, "postgres"), None);
    }

    #[test]
    fn files_belong_to_their_reader_alone() {
        let files = [("a/b.conf", "x"), ("SECRET", "y")]
            .map(|(name, text)| (name.to_owned(), FileText { text: text.to_owned(), secret: true }));
        let bytes = archive(&files.into(), 10_001, 10_002).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                (path, header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap())
            })
            .collect();
        let of = |path: &str, mode| (path.to_owned(), mode, 10_001, 10_002);
        assert_eq!(entries, [of("SECRET", 0o400), of("a", 0o500), of("a/b.conf", 0o400)]);
    }
}

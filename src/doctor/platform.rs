//! Where the remedies come from.

use std::fs;

use nix::unistd::Uid;

/// The package manager that a remedy names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Debian, Ubuntu and their relatives.
    Debian {
        /// Whether a command needs `sudo` in front of it.
        sudo: bool,
    },
    /// Fedora and its relatives.
    Fedora {
        /// Whether a command needs `sudo` in front of it.
        sudo: bool,
    },
    /// macOS with Homebrew.
    Mac,
    /// Another one: remedies name the program only.
    Other,
}

impl Platform {
    /// The platform of this machine.
    pub fn here() -> Self {
        if cfg!(target_os = "macos") {
            return Self::Mac;
        }
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        Self::from_release(&release, !Uid::effective().is_root())
    }

    fn from_release(release: &str, sudo: bool) -> Self {
        let like = release
            .lines()
            .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")))
            .flat_map(|value| value.trim_matches('"').split(' '));
        for id in like {
            match id {
                "debian" | "ubuntu" => return Self::Debian { sudo },
                "fedora" | "rhel" => return Self::Fedora { sudo },
                _ => {}
            }
        }
        Self::Other
    }

    /// The command that installs a program, by its packages on Debian, Fedora and Homebrew; elsewhere its name.
    pub fn install(self, debian: &str, fedora: &str, brew: &str, name: &str) -> String {
        let sudo = |sudo: bool| if sudo { "sudo " } else { "" };
        match self {
            Self::Debian { sudo: needed } => format!("{}apt-get install {debian}", sudo(needed)),
            Self::Fedora { sudo: needed } => format!("{}dnf install {fedora}", sudo(needed)),
            Self::Mac => format!("brew install {brew}"),
            Self::Other => format!("install {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relatives_share_a_package_manager() {
        for (release, expected) in [
            ("ID=debian\n", Platform::Debian { sudo: true }),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Platform::Debian { sudo: true }),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Platform::Fedora { sudo: true }),
            ("ID=arch\n", Platform::Other),
        ] {
            assert_eq!(Platform::from_release(release, true), expected, "{release}");
        }
    }

    #[test]
    fn a_remedy_is_a_command_of_the_platform() {
        let install = |platform: Platform| platform.install("a-deb", "a-rpm", "a-brew", "A");
        assert_eq!(install(Platform::Debian { sudo: true }), "sudo apt-get install a-deb");
        assert_eq!(install(Platform::Debian { sudo: false }), "apt-get install a-deb");
        assert_eq!(install(Platform::Mac), "brew install a-brew");
        assert_eq!(install(Platform::Other), "install A");
    }
}

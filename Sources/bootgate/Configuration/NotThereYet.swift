/// The parts of the configuration that are decided but not built. Each value other than the default is answered here,
/// so that nobody believes in a promise that is not kept.
enum NotThereYet: CaseIterable {
    case auditMode
    case auditKeepDevices

    /// A promise that safety or the device's way depends on is a mistake; one that merely adds something is a warning.
    var severity: Diagnostic.Severity {
        switch self {
        case .auditMode: .mistake
        case .auditKeepDevices: .warning
        }
    }

    var message: String {
        switch self {
        case .auditMode: "audit is not there yet; write enforce, or leave the key out"
        case .auditKeepDevices: "it only counts in mode audit, which is not there yet"
        }
    }
}

extension ConfigurationNode {
    /// Says that what stands here is not built.
    func notThereYet(_ feature: NotThereYet) {
        switch feature.severity {
        case .mistake: self.mistake("\(self.path): \(feature.message)")
        case .warning: self.warning("\(self.path): \(feature.message)")
        }
    }
}

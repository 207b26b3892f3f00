internal import LwM2M

/// What a list of links says about the device's own bootstrap account: it is the one of object 0 without a short server ID
/// (spec 1.3).
enum BootstrapFinding: Equatable {
    case instance(UInt16)
    /// Object 0 has server accounts alone, or nothing.
    case none
    /// Several may be it: devices of LwM2M 1.0 leave short server IDs out at times.
    case ambiguous

    /// From an answer for the root or for object 0.
    init(in list: LinkFormat) {
        let candidates = list.links.filter { $0.path?.objectID == 0 && $0.path?.count == 2 && $0["ssid"] == nil }
        switch candidates.count {
        case 0: self = .none
        case 1: self = candidates[0].path?.instanceID.map { .instance($0) } ?? .none
        default: self = .ambiguous
        }
    }
}

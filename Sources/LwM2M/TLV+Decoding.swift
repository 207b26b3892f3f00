extension TLV {
    /// Reads the payload of a write to `path`, or of an answer to a read of it.
    ///
    /// Lengths and identifiers may be longer than they need be. Everything else is strict: nothing trails, nothing occurs
    /// twice, and values of objects 0, 1, 2 and 21 have their types, so that a device cannot read another tree than the one
    /// that is returned (T26). One pass; the work is bounded by ``maximumSize`` and ``maximumRecords``.
    package static func decode(_ bytes: [UInt8], at path: LwM2MPath) throws(TLVError) -> PathContent {
        guard bytes.count <= Self.maximumSize else { throw TLVError(.tooLarge, at: Self.maximumSize) }
        guard let objectID = path.objectID else { throw TLVError(.unsupportedLevel, at: 0) }
        var reader = TLVReader(bytes: bytes, definition: .known(objectID))
        switch (path.instanceID, path.resourceID, path.resourceInstanceID) {
        case (nil, _, _): return .instances(try reader.readInstances())
        case (let instance?, nil, _):
            return .instance(ObjectInstance(id: instance, resources: try reader.readInstance(instance)))
        case (_, let resource?, nil): return .resource(try reader.readResource(resource))
        default: throw TLVError(.unsupportedLevel, at: 0)
        }
    }
}

/// A walk over the records of one payload.
private struct TLVReader {
    let bytes: [UInt8]
    let definition: ObjectDefinition?
    private var position = 0
    private var records = 0

    init(bytes: [UInt8], definition: ObjectDefinition?) {
        self.bytes = bytes
        self.definition = definition
    }

    private struct Header {
        let kind: TLV.Kind
        let id: UInt16
        /// Of the type byte.
        let start: Int
        /// Past the value.
        let end: Int
    }

    mutating func readInstances() throws(TLVError) -> [ObjectInstance] {
        var instances: [ObjectInstance] = []
        var identifiers = DistinctIdentifiers()
        while self.position < self.bytes.count {
            let header = try self.readHeader(within: self.bytes.count)
            guard header.kind == .objectInstance else { throw TLVError(.misplacedRecord, at: header.start) }
            try identifiers.insert(header, after: instances.map(\.id))
            instances.append(ObjectInstance(id: header.id, resources: try self.readResources(until: header.end)))
        }
        return instances
    }

    /// The resources of the instance that the path names: bare, or all in one wrapper of the same id.
    mutating func readInstance(_ id: UInt16) throws(TLVError) -> [Resource] {
        guard let first = self.bytes.first, first >> 6 == TLV.Kind.objectInstance.rawValue else {
            return try self.readResources(until: self.bytes.count)
        }
        let header = try self.readHeader(within: self.bytes.count)
        guard header.id == id else { throw TLVError(.conflictingInstance, at: header.start) }
        guard header.end == self.bytes.count else { throw TLVError(.conflictingInstance, at: header.end) }
        return try self.readResources(until: header.end)
    }

    mutating func readResource(_ id: UInt16) throws(TLVError) -> Resource {
        let resources = try self.readResources(until: self.bytes.count)
        guard let resource = resources.first, resources.count == 1, resource.id == id else {
            throw TLVError(.conflictingResource, at: 0)
        }
        return resource
    }

    private mutating func readResources(until end: Int) throws(TLVError) -> [Resource] {
        var resources: [Resource] = []
        // What an account has; an instance with more is rare.
        resources.reserveCapacity(8)
        var identifiers = DistinctIdentifiers()
        while self.position < end {
            let header = try self.readHeader(within: end)
            let isMultiple = header.kind == .multipleResource
            guard isMultiple || header.kind == .resource else { throw TLVError(.misplacedRecord, at: header.start) }
            try identifiers.insert(header, after: resources.map(\.id))
            let definition = self.definition?[header.id]
            if let definition, definition.isMultiple != isMultiple {
                throw TLVError(.wrongMultiplicity(id: header.id), at: header.start)
            }
            let value: Resource.Value =
                isMultiple
                ? .multiple(try self.readResourceInstances(of: header, as: definition?.type))
                : .single(try self.readValue(of: header, resource: header.id, as: definition?.type))
            resources.append(Resource(id: header.id, value: value))
        }
        return resources
    }

    private mutating func readResourceInstances(
        of resource: Header,
        as type: ResourceType?
    ) throws(TLVError) -> [ResourceInstance] {
        var instances: [ResourceInstance] = []
        var identifiers = DistinctIdentifiers()
        while self.position < resource.end {
            let header = try self.readHeader(within: resource.end)
            guard header.kind == .resourceInstance else { throw TLVError(.misplacedRecord, at: header.start) }
            try identifiers.insert(header, after: instances.map(\.id))
            let bytes = try self.readValue(of: header, resource: resource.id, as: type)
            instances.append(ResourceInstance(id: header.id, bytes: bytes))
        }
        return instances
    }

    private mutating func readValue(
        of header: Header,
        resource: UInt16,
        as type: ResourceType?
    ) throws(TLVError) -> [UInt8] {
        let value = self.bytes[self.position..<header.end]
        if let type, !type.accepts(value) {
            throw TLVError(.wrongType(id: resource, expected: type), at: header.start)
        }
        self.position = header.end
        return Array(value)
    }

    /// Reads type byte, identifier and length; the position is then at the value, which ends no later than `end`.
    private mutating func readHeader(within end: Int) throws(TLVError) -> Header {
        let start = self.position
        self.records += 1
        guard self.records <= TLV.maximumRecords else { throw TLVError(.tooManyRecords, at: start) }
        let type = self.bytes[start]
        self.position += 1
        let id = try self.readNumber(bytes: type & 0b10_0000 == 0 ? 1 : 2, within: end, start: start)
        // Bits 2 to 0 are the length only when no length field follows; otherwise they mean nothing.
        let lengthBytes = Int(type >> 3 & 0b11)
        let length =
            lengthBytes == 0
            ? Int(type & 0b111) : try self.readNumber(bytes: lengthBytes, within: end, start: start)
        guard length <= end - self.position else { throw TLVError(.overrun, at: start) }
        // Two bits: all four values are kinds.
        let kind = TLV.Kind(rawValue: type >> 6) ?? .resource
        return Header(kind: kind, id: UInt16(truncatingIfNeeded: id), start: start, end: self.position + length)
    }

    private mutating func readNumber(bytes count: Int, within end: Int, start: Int) throws(TLVError) -> Int {
        guard count <= end - self.position else { throw TLVError(.truncated, at: start) }
        var number = 0
        for index in self.position..<(self.position + count) { number = number << 8 | Int(self.bytes[index]) }
        self.position += count
        return number
    }

    /// The identifiers of one level. They nearly always ascend, and then one comparison each is enough; a level on which they
    /// do not is remembered in a set, so that a hostile order costs no more than linear time.
    private struct DistinctIdentifiers {
        private var highest = -1
        private var all: Set<UInt16> = []

        /// `earlier` are the identifiers of this level before this one.
        mutating func insert(_ header: Header, after earlier: @autoclosure () -> [UInt16]) throws(TLVError) {
            if Int(header.id) > self.highest {
                self.highest = Int(header.id)
                if !self.all.isEmpty { self.all.insert(header.id) }
                return
            }
            if self.all.isEmpty { self.all = Set(earlier()) }
            guard self.all.insert(header.id).inserted else {
                throw TLVError(.duplicateIdentifier(header.id), at: header.start)
            }
        }
    }
}

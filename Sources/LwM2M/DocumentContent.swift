/// Puts the values of a document, each with its path, together as a tree: in the order of the document, and strict about
/// what two readers could take differently (T26, T27).
struct DocumentContent {
    private(set) var objects: [ObjectContent] = []
    private let format: ContentFormat
    private let requestPath: LwM2MPath
    private var records = 0
    /// Where objects, instances, resources and their instances stand among their siblings.
    private var places: [LwM2MPath: Int] = [:]

    /// For a document of a format, under its registered number, that was sent for a path.
    init(_ format: ContentFormat, at requestPath: LwM2MPath) {
        self.format = format
        self.requestPath = requestPath
    }

    /// Adds one value, which begins at `offset` of the payload; `literal` is its spelling there.
    mutating func add(
        _ scalar: Scalar,
        literal: @autoclosure () -> [UInt8],
        at path: LwM2MPath,
        offset: Int
    ) throws(PayloadError) {
        guard let object = path.objectID, let instance = path.instanceID, let resource = path.resourceID else {
            throw PayloadError(.badName, at: offset)
        }
        guard path.isWithin(self.requestPath) else { throw PayloadError(.outsidePath, at: offset) }
        self.records += 1
        guard self.records <= PayloadCodec.maximumRecords else { throw PayloadError(.tooManyRecords, at: offset) }
        let definition = ObjectDefinition.known(object)
        if let known = definition?[resource], known.isMultiple != (path.resourceInstanceID != nil) {
            throw PayloadError(.wrongMultiplicity(path), at: offset)
        }
        let value: [UInt8]
        var spelling: ValueSpelling?
        if let type = definition?.convertibleType(resource), !Self.isOldString(scalar, type, object) {
            guard let bytes = self.resolved(scalar, type).bytes(as: type) else {
                throw PayloadError(.wrongType(path, expected: type), at: offset)
            }
            value = bytes
        } else {
            value = literal()
            spelling = ValueSpelling(format: self.format, kind: scalar.kind)
        }
        guard self.places[path] == nil else { throw PayloadError(.duplicatePath(path), at: offset) }
        let objectPlace = self.placeOfObject(object)
        let instancePlace = self.placeOfInstance(object, instance, at: objectPlace)
        let count = self.objects[objectPlace].instances[instancePlace].resources.count
        guard let id = path.resourceInstanceID else {
            self.places[path] = count
            let added = Resource(id: resource, value: .single(value), spelling: spelling)
            self.objects[objectPlace].instances[instancePlace].resources.append(added)
            return
        }
        self.places[path] = 0
        let resourcePath = LwM2MPath(object, instance, resource)
        let place = self.place(of: resourcePath, among: count)
        if place == count {
            self.objects[objectPlace].instances[instancePlace].resources.append(
                Resource(id: resource, value: .multiple([]))
            )
        }
        let entry = ResourceInstance(id: id, bytes: value, spelling: spelling)
        let isTaken = self.objects[objectPlace].instances[instancePlace].resources[place].append(entry)
        guard isTaken else { throw PayloadError(.duplicatePath(resourcePath), at: offset) }
    }

    private mutating func placeOfObject(_ id: UInt16) -> Int {
        // Nearly always the one before.
        if let last = self.objects.last, last.id == id { return self.objects.count - 1 }
        let place = self.place(of: LwM2MPath(id), among: self.objects.count)
        if place == self.objects.count { self.objects.append(ObjectContent(id: id, instances: [])) }
        return place
    }

    private mutating func placeOfInstance(_ object: UInt16, _ id: UInt16, at objectPlace: Int) -> Int {
        let count = self.objects[objectPlace].instances.count
        if let last = self.objects[objectPlace].instances.last, last.id == id { return count - 1 }
        let place = self.place(of: LwM2MPath(object, id), among: count)
        if place == count {
            self.objects[objectPlace].instances.append(ObjectInstance(id: id, resources: []))
        }
        return place
    }

    /// Object 21 had strings where it now has opaque values; they stay strings in formats that tell the two apart.
    private static func isOldString(_ scalar: Scalar, _ type: ResourceType, _ object: UInt16) -> Bool {
        object == ObjectDefinition.oscore.id && type == .opaque && scalar.kind == .string
    }

    /// OMA JSON has strings in the place of opaque values.
    private func resolved(_ scalar: Scalar, _ type: ResourceType) -> Scalar {
        guard self.format == .json, type == .opaque, case .text(let text) = scalar else { return scalar }
        return Base64.decode(text).map { .opaque($0) } ?? scalar
    }

    /// The place of what is there, or else the next one, which is then remembered.
    private mutating func place(of path: LwM2MPath, among count: Int) -> Int {
        if let place = self.places[path] { return place }
        self.places[path] = count
        return count
    }
}

extension Resource {
    /// Adds to a resource of several values; false when it is a single one.
    fileprivate mutating func append(_ entry: ResourceInstance) -> Bool {
        guard case .multiple(var entries) = self.value else { return false }
        // Given up here, so that the array is changed in its place.
        self.value = .multiple([])
        entries.append(entry)
        self.value = .multiple(entries)
        return true
    }
}

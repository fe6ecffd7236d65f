// A device of type CUDA whose memory is host memory, for a torch built for
// CPUs. See __init__.py beside this file.
//
// A tensor of the device owns host memory that is counted. What torch has no
// kernel of its own for goes through `fallback`: it checks the devices as
// torch's wrappers of CUDA kernels do, hands aliases of the same memory to
// the CPU's kernel, and turns what comes back into tensors of the device.
#include <torch/extension.h>
#include <torch/library.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

namespace {

using at::Tensor;
using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;
using c10::DispatchKey;
using c10::DispatchKeySet;
using c10::IValue;

constexpr DeviceIndex kMaxDevices = 8;
DeviceIndex device_count = 1;
thread_local DeviceIndex this_device = 0;

// Bytes of each device, for torch.cuda.memory_allocated.
std::atomic<int64_t> used[kMaxDevices], peak[kMaxDevices];

void account(DeviceIndex device, int64_t bytes) {
  int64_t now = used[device].fetch_add(bytes) + bytes;
  int64_t top = peak[device].load();
  while (now > top && !peak[device].compare_exchange_weak(top, now)) {
  }
}

struct Block {
  void* memory = nullptr;          // of our own, or
  std::optional<c10::Storage> kept;  // of a CPU storage
  int64_t bytes = 0;
  DeviceIndex device = 0;
};

void release(void* context) {
  auto* block = static_cast<Block*>(context);
  account(block->device, -block->bytes);
  std::free(block->memory);
  delete block;
}

std::atomic<bool> forked{false};

struct PretendAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    TORCH_CHECK(!forked.load(),
                "Cannot re-initialize CUDA in forked subprocess. To use CUDA "
                "with multiprocessing, you must use the 'spawn' start method");
    auto* block = new Block;
    block->device = this_device;
    block->bytes = static_cast<int64_t>(bytes);
    if (bytes > 0) {
      block->memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
      TORCH_CHECK(block->memory, "CUDA out of memory (pretended)");
    }
    account(block->device, block->bytes);
    return {block->memory, block, &release,
            Device(DeviceType::CUDA, block->device)};
  }
  void copy_data(void* to, const void* from, size_t count) const override {
    default_copy_data(to, from, count);
  }
};
PretendAllocator allocator;

struct PretendGuard final : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  Device exchangeDevice(Device d) const override {
    Device old = getDevice();
    setDevice(d);
    return old;
  }
  Device getDevice() const override {
    return Device(DeviceType::CUDA, this_device);
  }
  void setDevice(Device d) const override {
    if (d.index() < 0) return;
    TORCH_CHECK(d.index() < device_count,
                "CUDA error: invalid device ordinal");
    this_device = d.index();
  }
  void uncheckedSetDevice(Device d) const noexcept override {
    if (d.index() >= 0) this_device = d.index();
  }
  c10::Stream stream(Device d) const {
    if (d.index() < 0) d = getDevice();
    return c10::Stream(c10::Stream::DEFAULT, d);
  }
  c10::Stream getStream(Device d) const override { return stream(d); }
  c10::Stream getDefaultStream(Device d) const override { return stream(d); }
  c10::Stream getStreamFromGlobalPool(Device d, bool) const override {
    return stream(d);
  }
  c10::Stream getNewStream(Device d, int) const override { return stream(d); }
  c10::Stream exchangeStream(c10::Stream s) const override {
    return stream(s.device());
  }
  DeviceIndex deviceCount() const noexcept override { return device_count; }
  void record(void**, const c10::Stream&, const DeviceIndex,
              const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const DeviceIndex) const override {}
};
const PretendGuard guard_impl;

struct PretendGenerator final : c10::GeneratorImpl {
  explicit PretendGenerator(DeviceIndex index)
      : c10::GeneratorImpl(Device(DeviceType::CUDA, index),
                           DispatchKeySet(DispatchKey::CUDA)),
        inner(at::detail::createCPUGenerator()) {}
  void set_current_seed(uint64_t seed) override {
    inner.set_current_seed(seed);
  }
  void set_offset(uint64_t) override {}
  uint64_t get_offset() const override { return 0; }
  uint64_t current_seed() const override { return inner.current_seed(); }
  uint64_t seed() override { return inner.seed(); }
  void set_state(const c10::TensorImpl& state) override {
    inner.unsafeGetGeneratorImpl()->set_state(state);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return inner.unsafeGetGeneratorImpl()->get_state();
  }
  c10::GeneratorImpl* clone_impl() const override {
    auto* copy = new PretendGenerator(device().index());
    copy->inner = inner.clone();
    return copy;
  }
  at::Generator inner;
};

const at::Generator& default_generator(DeviceIndex index) {
  static std::vector<at::Generator>* all = [] {
    auto* made = new std::vector<at::Generator>;
    for (DeviceIndex i = 0; i < kMaxDevices; ++i)
      made->push_back(at::make_generator<PretendGenerator>(i));
    return made;
  }();
  return all->at(index < 0 ? this_device : index);
}

// torch asks of any pointer whether it is pinned.
std::mutex pinned_mutex;
std::unordered_map<void*, size_t> pinned;
void unpin(void* p) {
  {
    std::lock_guard<std::mutex> lock(pinned_mutex);
    pinned.erase(p);
  }
  std::free(p);
}
struct PinnedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* p = std::aligned_alloc(64, (bytes + 64) / 64 * 64);
    std::lock_guard<std::mutex> lock(pinned_mutex);
    pinned[p] = bytes;
    return {p, p, &unpin, Device(DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &unpin; }
  void copy_data(void* to, const void* from, size_t count) const override {
    default_copy_data(to, from, count);
  }
};
PinnedAllocator pinned_allocator;

// What torch asks of CUDA where it would otherwise say that it was not built
// with it.
struct PretendHooks final : at::CUDAHooksInterface {
  void init() const override {}
  const at::Generator& getDefaultGenerator(DeviceIndex i) const override {
    return default_generator(i);
  }
  at::Generator getNewGenerator(DeviceIndex i) const override {
    return at::make_generator<PretendGenerator>(i < 0 ? this_device : i);
  }
  Device getDeviceFromPtr(void*) const override {
    return Device(DeviceType::CUDA, this_device);
  }
  bool isPinnedPtr(const void* p) const override {
    std::lock_guard<std::mutex> lock(pinned_mutex);
    for (auto& [start, bytes] : pinned)
      if (p >= start && p < static_cast<char*>(start) + bytes + 1) return true;
    return false;
  }
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex current_device() const override { return this_device; }
  DeviceIndex deviceCount() const override { return device_count; }
  void setCurrentDevice(DeviceIndex i) const override {
    guard_impl.setDevice(Device(DeviceType::CUDA, i));
  }
  DeviceIndex getCurrentDevice() const override { return this_device; }
  DeviceIndex exchangeDevice(DeviceIndex i) const override {
    DeviceIndex old = this_device;
    setCurrentDevice(i);
    return old;
  }
  DeviceIndex maybeExchangeDevice(DeviceIndex i) const override {
    return i < 0 ? this_device : exchangeDevice(i);
  }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    return &pinned_allocator;
  }
  c10::Allocator* getCUDADeviceAllocator() const override {
    return &allocator;
  }
  std::string showConfig() const override { return "  - pretended CUDA\n"; }
  long versionCuDNN() const override { return 0; }
  long versionRuntimeCuDNN() const override { return 0; }
  long versionCUDART() const override { return 0; }
  int getNumGPUs() const override { return device_count; }
  void deviceSynchronize(DeviceIndex) const override {}
};

bool on_device(const Tensor& t) {
  return t.defined() && t.device().type() == DeviceType::CUDA;
}

// The same memory as a tensor of the CPU; keeps it alive.
Tensor cpu_alias(const Tensor& t) {
  c10::Storage source = t.storage();
  c10::DataPtr pointer(
      source.mutable_data(), new c10::Storage(source),
      [](void* c) { delete static_cast<c10::Storage*>(c); },
      Device(DeviceType::CPU));
  auto storage = c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), source.nbytes(),
      std::move(pointer), c10::GetAllocator(DeviceType::CPU), true);
  Tensor result = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(std::move(storage)), DispatchKeySet(DispatchKey::CPU),
      t.dtype());
  auto* impl = result.unsafeGetTensorImpl();
  impl->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
  return result;
}

// Memory that a kernel of the CPU has made, as the device's: counted as such.
c10::Storage device_storage(const c10::Storage& cpu, DeviceIndex device) {
  auto* block = new Block;
  block->kept = cpu;
  block->bytes = static_cast<int64_t>(cpu.nbytes());
  block->device = device;
  account(device, block->bytes);
  c10::DataPtr pointer(cpu.mutable_data(), block, &release,
                       Device(DeviceType::CUDA, device));
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), cpu.nbytes(), std::move(pointer),
      &allocator, true));
}

Tensor device_tensor(const c10::Storage& storage, const Tensor& like) {
  Tensor result = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage), DispatchKeySet(DispatchKey::CUDA), like.dtype());
  result.unsafeGetTensorImpl()->set_sizes_and_strides(
      like.sizes(), like.strides(), like.storage_offset());
  return result;
}

std::atomic<bool> watching{false};
py::object* watcher = nullptr;  // called with (kind, operator, bytes)

void observe(const char* kind, const std::string& op, int64_t bytes) {
  if (!watching.load() || watcher == nullptr || !Py_IsInitialized()) return;
  py::gil_scoped_acquire gil;
  try {
    (*watcher)(kind, op, bytes);
  } catch (py::error_already_set& e) {
    e.discard_as_unraisable("mmal_pretended_gpu");
  }
}

// Operators whose output has a size that the host must learn.
const std::unordered_set<std::string> kWaits = {
    "aten::nonzero", "aten::nonzero.out", "aten::masked_select",
    "aten::masked_select.out", "aten::_unique2", "aten::unique_dim",
    "aten::unique_consecutive", "aten::unique_dim_consecutive",
    "aten::bincount", "aten::repeat_interleave.Tensor", "aten::equal",
    "aten::_linalg_check_errors", "aten::histc", "aten::histc.out",
    "torchvision::nms"};

// matrix products of cuBLAS
const std::unordered_set<std::string> kBlas = {
    "aten::mm", "aten::mm.out", "aten::bmm", "aten::bmm.out", "aten::addmm",
    "aten::addmm.out", "aten::baddbmm", "aten::baddbmm.out", "aten::mv",
    "aten::addmv.out"};

// Whether an operator takes a CPU's tensor of no dimension as a number.
bool scalar_allowed(const c10::OperatorHandle& op) {
  static const std::unordered_set<std::string> more = {
      "aten::where", "aten::masked_fill_", "aten::masked_fill",
      "aten::index_fill_", "aten::fill_", "aten::_index_put_impl_",
      "aten::index_put_", "aten::index_put", "aten::lerp", "aten::lerp_",
      "aten::clamp", "aten::clamp_", "aten::floor_divide",
      "aten::floor_divide_", "aten::_foreach_mul_",
      "aten::_foreach_mul", "aten::_foreach_div_", "aten::_foreach_add_",
      "aten::_amp_foreach_non_finite_check_and_unscale_"};
  return op.hasTag(at::Tag::pointwise) ||
         more.count(op.operator_name().name) > 0;
}

struct Passed {
  Tensor alias, original;
  bool written;
};

[[noreturn]] void refuse(const c10::OperatorHandle& op, Device first,
                         Device second, const std::string& argument) {
  std::string name = op.operator_name().name;
  auto colon = name.rfind(':');
  TORCH_CHECK(
      false,
      "Expected all tensors to be on the same device, but found at least "
      "two devices, ", first, " and ", second,
      "! (when checking argument for argument ", argument,
      " in method wrapper_CUDA_", name.substr(colon + 1), ")");
}

void check(const c10::OperatorHandle& op, Device device, const Tensor& t,
           bool written, const std::string& argument) {
  if (!t.defined() || t.device() == device) return;
  if (t.device().is_cpu() && !written) {
    if (t.dim() == 0 && (t.unsafeGetTensorImpl()->is_wrapped_number() ||
                         scalar_allowed(op)))
      return;
    if (argument == "indices") return;  // CPU indices of a CUDA tensor
  }
  refuse(op, device, t.device(), argument);
}

// Any operator: see the top of this file.
void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const size_t count = schema.arguments().size();
  const size_t begin = stack->size() - count;
  const std::string name = c10::toString(op.operator_name());

  std::optional<Device> device;
  auto look = [&](const Tensor& t) {
    if (on_device(t) && !device) device = t.device();
  };
  // A written tensor decides, then the first one.
  for (int pass = 0; pass < 2 && !device; ++pass) {
    for (size_t i = 0; i < count; ++i) {
      const auto& argument = schema.arguments()[i];
      bool written = argument.alias_info() && argument.alias_info()->isWrite();
      if (pass == 0 && !written) continue;
      const IValue& value = (*stack)[begin + i];
      if (value.isTensor()) look(value.toTensor());
      else if (value.isTensorList())
        for (const auto& t : value.toTensorVector()) look(t);
      else if (value.isOptionalTensorList())
        for (std::optional<Tensor> t : value.toOptionalTensorList())
          if (t) look(*t);
    }
  }
  Device target(DeviceType::CUDA, this_device);
  if (device) target = *device;

  std::vector<Passed> passed;
  auto give = [&](const Tensor& t, bool written,
                  const std::string& argument) -> Tensor {
    if (!t.defined()) return t;
    if (device) check(op, *device, t, written, argument);
    if (!on_device(t)) return t;
    Tensor alias = cpu_alias(t);
    passed.push_back({alias, t, written});
    return alias;
  };
  bool bool_index = false, fills = false;
  bool has_generator = false;
  for (size_t i = 0; i < count; ++i) {
    const auto& argument = schema.arguments()[i];
    bool written = argument.alias_info() && argument.alias_info()->isWrite();
    IValue& value = (*stack)[begin + i];
    if (value.isTensor()) {
      // torch fills by a mask, and does not wait, where the value is one
      // number of the CPU
      const Tensor& t = value.toTensor();
      if (argument.name() == "values" && t.defined() && !on_device(t) &&
          t.numel() == 1)
        fills = true;
      value = IValue(give(t, written, argument.name()));
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const auto& t : value.toTensorVector())
        list.push_back(give(t, written, argument.name()));
      value = IValue(std::move(list));
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (std::optional<Tensor> t : value.toOptionalTensorList()) {
        if (t && t->defined() && (t->scalar_type() == at::kBool ||
                                  t->scalar_type() == at::kByte))
          bool_index = true;
        list.push_back(
            t ? std::optional<Tensor>(give(*t, written, argument.name())) : t);
      }
      value = IValue(std::move(list));
    } else if (value.isGenerator()) {
      at::Generator g = value.toGenerator();
      TORCH_CHECK(g.device().type() == DeviceType::CUDA,
                  "Expected a 'cuda' device type for generator but found '",
                  g.device().type(), "'");
      // It alone has led here: a tensor of the CPU is to be drawn with it.
      TORCH_CHECK(device, "Expected a 'cpu' device type for generator but "
                  "found 'cuda'");
      value = IValue(
          static_cast<PretendGenerator*>(g.unsafeGetGeneratorImpl())->inner);
      has_generator = true;
    } else if (value.isDevice()) {
      Device d = value.toDevice();
      if (d.type() == DeviceType::CUDA) {
        if (!device && d.index() >= 0) target = d;
        value = IValue(Device(DeviceType::CPU));
      }
    }
  }
  if (!has_generator) {
    for (size_t i = 0; i < count; ++i) {
      const auto& argument = schema.arguments()[i];
      IValue& value = (*stack)[begin + i];
      if (value.isNone() && argument.name() == "generator")
        value = IValue(static_cast<PretendGenerator*>(
            default_generator(target.index()).unsafeGetGeneratorImpl())
            ->inner);
    }
  }
  if (watching.load()) {
    const bool masked =
        bool_index && !fills && name != "aten::index.Tensor_out";
    if (kWaits.count(name) || masked) observe("wait", name, 0);
    else observe("kernel", name, 0);
  }

  if (at::globalContext().deterministicAlgorithms() && kBlas.count(name) &&
      std::getenv("CUBLAS_WORKSPACE_CONFIG") == nullptr)
    TORCH_CHECK(false,
                "Deterministic behavior was enabled with "
                "`torch.use_deterministic_algorithms(True)`, but ", name,
                " uses CuBLAS: set CUBLAS_WORKSPACE_CONFIG=:4096:8 (pretended)");

  op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);

  // Outputs of a new size got new memory.
  for (auto& p : passed) {
    if (!p.written) continue;
    auto* impl = p.original.unsafeGetTensorImpl();
    if (p.alias.storage().data() != p.original.storage().data()) {
      impl->set_storage_keep_dtype(
          device_storage(p.alias.storage(), p.original.device().index()));
    }
    if (p.alias.sizes() != p.original.sizes() ||
        p.alias.strides() != p.original.strides())
      impl->set_sizes_and_strides(p.alias.sizes(), p.alias.strides(),
                                  p.alias.storage_offset());
  }
  std::unordered_map<c10::StorageImpl*, c10::Storage> storages;
  for (auto& p : passed)
    storages.emplace(p.alias.storage().unsafeGetStorageImpl(),
                     p.original.storage());
  auto take = [&](const Tensor& t) -> Tensor {
    if (!t.defined()) return t;
    for (auto& p : passed)
      if (p.alias.is_same(t)) return p.original;
    if (!t.device().is_cpu()) return t;
    auto* key = t.storage().unsafeGetStorageImpl();
    auto found = storages.find(key);
    if (found == storages.end())
      found = storages.emplace(
          key, device_storage(t.storage(), target.index())).first;
    return device_tensor(found->second, t);
  };
  const size_t returned = schema.returns().size();
  for (size_t i = stack->size() - returned; i < stack->size(); ++i) {
    IValue& value = (*stack)[i];
    if (value.isTensor()) {
      value = IValue(take(value.toTensor()));
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const auto& t : value.toTensorVector()) list.push_back(take(t));
      value = IValue(std::move(list));
    }
  }
}

// Without kernels for these there would be no tensor, no view and no copy.
Tensor empty_memory_format(at::IntArrayRef size,
                           std::optional<at::ScalarType> dtype,
                           std::optional<at::Layout>,
                           std::optional<Device> device,
                           std::optional<bool> pin,
                           std::optional<at::MemoryFormat> format) {
  TORCH_CHECK(!pin.value_or(false), "Only dense CPU tensors can be pinned");
  c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_generic(size, &allocator,
                                   DispatchKeySet(DispatchKey::CUDA),
                                   c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                     std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<Device> device,
                     std::optional<bool>) {
  c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_strided_generic(
      size, stride, &allocator, DispatchKeySet(DispatchKey::CUDA),
      c10::dtype_or_default(dtype));
}

Tensor& copy_(Tensor& self, const Tensor& source, bool non_blocking) {
  if (self.is_same(source)) return self;
  Tensor to = on_device(self) ? cpu_alias(self) : self;
  Tensor from = on_device(source) ? cpu_alias(source) : source;
  if (self.device() != source.device() && watching.load()) {
    int64_t bytes = static_cast<int64_t>(source.nbytes());
    if (on_device(source) && !on_device(self))
      observe("d2h", non_blocking ? "copy_ (non_blocking)" : "copy_", bytes);
    else if (on_device(self) && !on_device(source))
      observe("h2d", non_blocking ? "copy_ (non_blocking)" : "copy_", bytes);
  }
  to.copy_(from);
  return self;
}

at::Scalar local_scalar_dense(const Tensor& self) {
  if (watching.load()) observe("wait", "item", 0);
  return cpu_alias(self).item();
}

Tensor& set_storage(Tensor& self, at::Storage source, int64_t offset,
                    at::IntArrayRef size, at::IntArrayRef stride) {
  return at::native::set_storage_cpu_(self, std::move(source), offset, size,
                                      stride);
}

Tensor efficient_zeros(at::IntArrayRef size,
                       std::optional<at::ScalarType> dtype,
                       std::optional<at::Layout> layout,
                       std::optional<Device> device,
                       std::optional<bool> pin) {
  return empty_memory_format(size, dtype, layout, device, pin, std::nullopt)
      .zero_();
}

// What autocast asks of CUDA's softmax, and the CPU's has not: half in, float
// out, and back.
using Softmax = Tensor (*)(const Tensor&, int64_t, bool);
template <Softmax f>
Tensor softmax(const Tensor& self, int64_t dim, bool half_to_float) {
  if (watching.load()) observe("kernel", "aten::_softmax", 0);
  Tensor input = cpu_alias(self);
  if (half_to_float) input = input.to(at::kFloat);
  Tensor out = f(input, dim, false);
  return device_tensor(device_storage(out.storage(), self.device().index()),
                       out);
}

using SoftmaxBackward = Tensor (*)(const Tensor&, const Tensor&, int64_t,
                                   at::ScalarType);
template <SoftmaxBackward f>
Tensor softmax_backward(const Tensor& grad, const Tensor& output, int64_t dim,
                        at::ScalarType input_type) {
  if (watching.load()) observe("kernel", "aten::_softmax_backward_data", 0);
  Tensor out = f(cpu_alias(grad), cpu_alias(output), dim,
                 output.scalar_type()).to(input_type);
  return device_tensor(device_storage(out.storage(), grad.device().index()),
                       out);
}

Tensor& set_whole_storage(Tensor& self, at::Storage source) {
  int64_t size = static_cast<int64_t>(source.nbytes() / self.itemsize());
  return set_storage(self, std::move(source), 0, size, {});
}

void setup(int64_t devices) {
  TORCH_CHECK(devices >= 1 && devices <= kMaxDevices);
  device_count = static_cast<DeviceIndex>(devices);
}

}  // namespace

TORCH_LIBRARY_IMPL(_, CUDA, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", &empty_memory_format);
  m.impl("empty_strided", &empty_strided);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("resize_", &at::native::resize_);
  m.impl("set_.source_Storage_storage_offset", &set_storage);
  m.impl("set_.source_Storage", &set_whole_storage);
  m.impl("copy_", &copy_);
  m.impl("_efficientzerotensor", &efficient_zeros);
  m.impl("_local_scalar_dense", &local_scalar_dense);
  m.impl("_softmax", &softmax<&at::_softmax>);
  m.impl("_log_softmax", &softmax<&at::_log_softmax>);
  m.impl("_softmax_backward_data",
         &softmax_backward<&at::_softmax_backward_data>);
  m.impl("_log_softmax_backward_data",
         &softmax_backward<&at::_log_softmax_backward_data>);
  // These look for CUDA's own kernels inside torch.
  m.impl("convolution",
         torch::CppFunction::makeFromBoxedFunction<&fallback>());
  m.impl("convolution_backward",
         torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

namespace {
std::unique_ptr<at::CUDAHooksInterface> make_hooks(at::CUDAHooksArgs) {
  return std::make_unique<PretendHooks>();
}
// torch asks for the hooks once, while it is imported: load this before.
const bool hooked = [] {
  at::CUDAHooksRegistry()->Register("CUDAHooks", &make_hooks);
  return true;
}();
}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("start", [](int64_t devices) {
    setup(devices);
    static bool done = false;
    if (done) return;
    done = true;
    c10::SetAllocator(DeviceType::CUDA, &allocator);
    static c10::impl::DeviceGuardImplRegistrar registrar(DeviceType::CUDA,
                                                         &guard_impl);
  });
  m.def("hooks_work", [] { return at::detail::getCUDAHooks().hasCUDA(); });
  m.def("device_count", [] { return int(device_count); });
  m.def("current_device", [] { return int(this_device); });
  m.def("set_device", [](int64_t i) {
    if (i < 0) return;
    TORCH_CHECK(i < device_count, "CUDA error: invalid device ordinal");
    this_device = static_cast<DeviceIndex>(i);
  });
  m.def("memory", [](int64_t i) { return used[i].load(); });
  m.def("peak", [](int64_t i) { return peak[i].load(); });
  m.def("reset_peak", [](int64_t i) { peak[i].store(used[i].load()); });
  m.def("generator", [](int64_t i) {
    return default_generator(static_cast<DeviceIndex>(i));
  });
  m.def("poison", [] { forked.store(true); });
  m.def("watch", [](py::object f) {
    watching.store(false);
    delete watcher;
    watcher = nullptr;
    if (!f.is_none()) {
      watcher = new py::object(f);
      watching.store(true);
    }
  });
}

// A stand-in for the driver's library, libcuda.so.1, of a machine without a
// GPU: enough for cuDNN to compile kernels for a GPU that is not there, and to
// load them. They cannot be launched.
#include <cstring>

namespace {

// As in cuda.h.
constexpr int kSuccess = 0;
constexpr int kNotSupported = 801;

// Handles need an address that is not null.
int object;

char last_kernel[1024];

}  // namespace

extern "C" {

// The kernel that was looked up last, for tests.
const char* StandInDriverLastKernel() { return last_kernel; }

int cuDriverGetVersion(int* version) {
  *version = 13000;
  return kSuccess;
}

int cuLibraryLoadData(void** library, const void*) {
  *library = &object;
  return kSuccess;
}

int cuLibraryUnload(void*) { return kSuccess; }

int cuLibraryGetKernel(void** kernel, void*, const char* name) {
  *kernel = &object;
  std::strncpy(last_kernel, name, sizeof(last_kernel) - 1);
  return kSuccess;
}

int cuKernelSetAttribute(int, int, void*, int) { return kSuccess; }

int cuGetErrorName(int, const char** name) {
  *name = "an error of the stand-in for the driver";
  return kSuccess;
}

int cuGetErrorString(int error, const char** message) {
  return cuGetErrorName(error, message);
}

// What cuDNN looks for before it does anything.
#define NW_NOT_SUPPORTED(name) \
  int name() { return kNotSupported; }

NW_NOT_SUPPORTED(cuCtxGetCurrent)
NW_NOT_SUPPORTED(cuCtxGetLimit)
NW_NOT_SUPPORTED(cuCtxPopCurrent)
NW_NOT_SUPPORTED(cuCtxPushCurrent)
NW_NOT_SUPPORTED(cuDeviceGet)
NW_NOT_SUPPORTED(cuDeviceGetCount)
NW_NOT_SUPPORTED(cuKernelGetAttribute)
NW_NOT_SUPPORTED(cuLaunchCooperativeKernel)
NW_NOT_SUPPORTED(cuLaunchKernel)
NW_NOT_SUPPORTED(cuLaunchKernelEx)
NW_NOT_SUPPORTED(cuLibraryLoadFromFile)
NW_NOT_SUPPORTED(cuLinkAddData)
NW_NOT_SUPPORTED(cuLinkComplete)
NW_NOT_SUPPORTED(cuLinkCreate)
NW_NOT_SUPPORTED(cuLinkDestroy)
NW_NOT_SUPPORTED(cuOccupancyMaxPotentialClusterSize)
NW_NOT_SUPPORTED(cuStreamGetCtx)

}  // extern "C"

// Kernels made of others: for devices, and problems, that have nothing better.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_COMPOSED_H_
#define NEXTWORD_AUTOGRAD_KERNELS_COMPOSED_H_

#include "autograd/kernels/kernels.h"

namespace nextword::kernels::composed {

void LinearGeluTanh(In x, In w, In bias, Out pre, Out y);
void LinearGrad(In dy, In x, bool add, Out dw, Out db);
void LinearGeluTanhGrad(In dy, In w, In pre, Out dpre);
void MatmulQuantized(In a, In scale_a, In b, In scale_b, In bias, In addend,
                     Out y);
void QuantizeGeluTanh(In pre, In scale, Out y, Out yt, Out largest);
void QuantizeGeluTanhGrad(In pre, In dy, In scale, Out dx, Out dxt, Out largest,
                          Out sum);

}  // namespace nextword::kernels::composed

#endif  // NEXTWORD_AUTOGRAD_KERNELS_COMPOSED_H_

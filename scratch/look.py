import sys; sys.path.insert(0,'/work/main/src')
import onnxruntime as ort
so=ort.SessionOptions(); so.intra_op_num_threads=1; so.graph_optimization_level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL
for n in ('embedding','segmentation'):
    so.optimized_model_filepath=f'/tmp/moon/{n}.onnx'; so.add_session_config_entry('session.save_model_format','ONNX')
    ort.InferenceSession(open(f'/tmp/moon/{n}_ort_data','rb').read(),so,providers=['CPUExecutionProvider'])
from tts.engines import onnx_outputs as o
for n in ('embedding','segmentation'):
    m=memoryview(open(f'/tmp/moon/{n}.onnx','rb').read())
    graphs=[c for k,c in o._fields(m) if k==7]
    ns=list(o._nodes(graphs)); print(n,len(ns))
    for x in (ns[:6]+ns[-45:] if n=='embedding' else ns[-12:]): print('  ',x.op,x.inputs,'->',x.outputs)
